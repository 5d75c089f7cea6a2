package render

import (
	"regexp"
	"strings"

	"posthorn/internal/message"
)

// mrkdwn gives Slack's mrkdwn the form in which chats show it: links and mentions are
// written out, and the three characters that Slack has escaped are themselves again. Bold,
// italic, struck text, quotations and code are alike. Mattermost's Markdown is understood
// as far as it is no mrkdwn.
func (r *run) mrkdwn(s string) string { return linksWritten(r.mrkdwnLinked(s)) }

// mrkdwnLinked is the same with links as linked writes them.
func (r *run) mrkdwnLinked(s string) string {
	s = allowed(message.UnixLines(cut(maxStyled, s)))
	var out strings.Builder
	for {
		at := slackCode.FindStringIndex(s)
		if at == nil {
			return strings.Trim(out.String()+r.mrkdwnText(s), "\n")
		}
		out.WriteString(r.mrkdwnText(s[:at[0]]))
		code := linksWritten(unescaped(slackLinks(s[at[0]:at[1]])))
		if s = s[at[1]:]; strings.HasPrefix(code, "```") {
			code = ownLines(code[3:len(code)-3], out.String(), s)
		}
		out.WriteString(code)
	}
}

// slackCode is code, in which there are links but no styles.
var slackCode = regexp.MustCompile("(?s)```.+?```|(?-s)`[^`\\n]+`")

// ownLines writes code on lines of its own (XEP-0393 §5.1.2), which Slack does not ask for.
func ownLines(code, before, after string) string {
	code = preformatted(code)
	if before != "" && !strings.HasSuffix(before, "\n") {
		code = "\n" + code
	}
	if after != "" && !strings.HasPrefix(after, "\n") {
		code += "\n"
	}
	return code
}

// mrkdwnText writes what is no code.
func (r *run) mrkdwnText(s string) string {
	s = mdLink.ReplaceAllStringFunc(slackLinks(s), func(found string) string {
		parts := mdLink.FindStringSubmatch(found)
		return linked(parts[1], parts[2])
	})
	return unescaped(r.shortCodes(apply(mattermostRules, s)))
}

// mattermostRules are for the Markdown that would mean nothing to Slack.
var mattermostRules = rules(
	`(?m)^([ \t]*)[*+][ \t]+`, "$1- ",
	`(?m)^ {0,3}#{1,6}[ \t]+([^*\n]+?)[ \t#]*$`, "*$1*",
	opened+`\*\*([^\s*](?:[^*\n]*?[^\s*])??)\*\*`, "${1}*${2}*",
	opened+`~~([^\s~](?:[^~\n]*?[^\s~])??)~~`, "${1}~${2}~",
)

// unescaped undoes what Slack asks its senders to escape, once.
func unescaped(s string) string { return slackEscapes.Replace(s) }

var slackEscapes = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// slackLink is what stands in angle brackets: an address, a person, a channel, or a
// command, and perhaps what is shown of it. Anything else is text that was not escaped.
var slackLink = regexp.MustCompile(`<([a-zA-Z][a-zA-Z0-9+.-]*:[^<>|\s]+|[@#!][^<>|\s][^<>|]*) ?(?:\|([^<>]*))?>`)

func slackLinks(s string) string {
	return slackLink.ReplaceAllStringFunc(s, func(found string) string {
		parts := slackLink.FindStringSubmatch(found)
		return slackTarget(parts[1], strings.TrimSpace(parts[2]))
	})
}

// slackTarget writes what a link leads to, or who is mentioned.
func slackTarget(target, label string) string {
	name, _, _ := strings.Cut(target[1:], "^")
	switch {
	case target[0] == '@' || target[0] == '#':
		return mention(target[:1], target[1:], label)
	case strings.HasPrefix(target, "!subteam^"):
		return mention("@", strings.TrimPrefix(target, "!subteam^"), label)
	case target[0] == '!' && (name == "here" || name == "channel" || name == "everyone"):
		return "@" + name
	case strings.HasPrefix(target, "!date^") && label == "":
		at, _, _ := strings.Cut(strings.TrimPrefix(target, "!date^"), "^")
		return moment(at)
	case target[0] == '!' && label == "":
		return "@" + name
	case target[0] == '!':
		return label
	}
	return linked(label, strings.TrimPrefix(strings.TrimPrefix(target, "mailto:"), "tel:"))
}

// mention writes somebody's name, or what there is in its place.
func mention(sign, id, label string) string {
	if label == "" {
		label = id
	}
	return sign + strings.TrimPrefix(label, sign)
}

// link writes a link as text.
func link(label, url string) string {
	if bare := strings.TrimSuffix(url, "/"); label == "" || label == url || label == bare || strings.HasSuffix(bare, "://"+label) {
		return url
	}
	return label + " (" + url + ")"
}

// linked writes a link so that linksWritten and linksBelow find it: its text, its address,
// and around them characters that no text has, since XML does not allow them.
func linked(label, url string) string {
	if written := link(label, url); written == url {
		return url
	}
	return "\x01" + label + "\x02" + url + "\x03"
}

var linkParts = regexp.MustCompile("\x01([^\x01-\x03]*)\x02([^\x01-\x03]*)\x03")

// linksWritten puts addresses behind the texts of their links.
func linksWritten(s string) string { return linkParts.ReplaceAllString(s, "$1 ($2)") }

// linksBelow takes addresses out of a line, and gives the first few on lines of their own.
func linksBelow(s string) (line string, links []string) {
	for _, found := range linkParts.FindAllStringSubmatch(s, 5) {
		links = append(links, labelled(strings.Trim(found[1], "*_~`"), found[2]))
	}
	return linkParts.ReplaceAllString(s, "$1"), links
}
