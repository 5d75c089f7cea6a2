package render

import (
	"strings"

	"posthorn/internal/message"
)

// A Message is what a template has made of a payload. Its texts are valid UTF-8, of
// characters that XML allows.
type Message struct {
	Body    string `json:"body"` // empty: this payload is nobody's business, and there is no message
	Subject string `json:"subject,omitempty"`
	Type    string `json:"type,omitempty"` // as message.ParseType reads it
	ID      string `json:"id,omitempty"`
	URL     string `json:"oob,omitempty"` // of a picture, say, which goes beside the text

	Key    string `json:"key,omitempty"`    // names what the message is about: an alert group, a pull request
	Update bool   `json:"update,omitempty"` // messages of that key correct one another without being asked to
	Fresh  bool   `json:"new,omitempty"`    // this one is new all the same
}

// Blocks are the names that mean something in a template, each with what it gives.
var Blocks = []struct{ Name, Gives string }{
	{"body", "the text, in place of what stands outside of blocks"},
	{"subject", "the subject"},
	{"type", "chat, normal, headline or groupchat"},
	{"id", "the stanza's id"},
	{"urls", "the URL that goes beside the text, such as a picture's; the first line counts"},
	{"key", "what the message is about: with ?update=1 a later one of the same key corrects it"},
	{"update", "the same, and without being asked to"},
	{"new", "anything: this message corrects none, since people are not notified of corrections"},
}

// tidy gives a text the form in which it is sent: no blanks at the ends of lines, no
// more than one empty line at once, and none of the characters that XML forbids.
// U+FFFD takes the place of those: a payload is the tool's, and whoever waits for the
// alert cannot mend it.
func tidy(text string) string {
	var out strings.Builder
	empty := 0
	for l := range strings.Lines(message.UnixLines(text)) {
		l = strings.TrimRight(l, " \t\n")
		if l == "" {
			empty++
			continue
		}
		if out.Len() > 0 {
			out.WriteString(strings.Repeat("\n", 1+min(empty, 1)))
		}
		empty = 0
		out.WriteString(l)
	}
	return allowed(out.String())
}

// allowed replaces what XML does not allow.
func allowed(text string) string {
	if message.CheckText(text) == nil {
		return text
	}
	return strings.Map(func(r rune) rune {
		if message.CheckText(string(r)) != nil {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// oneLine gives the words of a text, a space between each.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
