package render

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark-emoji/definition"
)

// emojiOf gives the emoji of a short code, without its colons, as GitHub, ntfy and
// Slack name them; "" where it is none.
func emojiOf(code string) string {
	for _, name := range []string{code, strings.TrimPrefix(code, "large_")} { // Slack has large_green_circle
		if known, is := definition.Github().Get(name); is {
			return string(known.Unicode)
		}
	}
	return ""
}

// shortCode is what may be one in a text, with Slack's tone of skin, which is left out.
var shortCode = regexp.MustCompile(`:([a-z0-9_+-]{1,40}):(?::?skin-tone-\d:)?`)

// shortCodes replaces the short codes in a text. What stands in a word, such as a time
// or an address with a port, is none.
func (r *run) shortCodes(s string) string {
	if r.Plain {
		return s
	}
	var out strings.Builder
	done := 0
	for {
		at := shortCode.FindStringSubmatchIndex(s[done:])
		if at == nil {
			return out.String() + s[done:]
		}
		begin, end := done+at[0], done+at[1]
		found := emojiOf(s[begin+1 : done+at[3]])
		if before, _ := utf8.DecodeLastRuneInString(s[:begin]); found == "" || isWord(before) {
			end = done + at[3] // the colon behind may begin another one
			found = s[begin:end]
		}
		out.WriteString(s[done:begin] + found)
		done = end
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// sign puts a sign before a text that does not begin with an emoji.
func sign(sign, text string) string {
	if first, _ := utf8.DecodeRuneInString(text); sign == "" || text == "" || unicode.Is(unicode.So, first) {
		return text
	}
	return sign + " " + text
}
