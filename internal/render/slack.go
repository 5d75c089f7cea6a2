package render

import (
	"html"
	"regexp"
	"strings"
)

// slackLink is what stands in angle brackets in Slack's mrkdwn.
var slackLink = regexp.MustCompile(`<([^<>|]+)(?:\|([^<>]*))?>`)

// slack undoes mrkdwn as far as chats show it otherwise: its links and mentions, and the
// three characters that it escapes. Bold, italic, struck text and code are alike.
func slack(s string) string {
	s = slackLink.ReplaceAllStringFunc(s, func(link string) string {
		parts := slackLink.FindStringSubmatch(link)
		return slackTarget(parts[1], parts[2])
	})
	return html.UnescapeString(s)
}

// slackTarget writes what a link leads to, or who is mentioned.
func slackTarget(target, label string) string {
	switch target[0] {
	case '@':
		if label != "" {
			return "@" + strings.TrimPrefix(label, "@")
		}
		return target
	case '#':
		if label != "" {
			return "#" + strings.TrimPrefix(label, "#")
		}
		return target
	case '!':
		if label != "" {
			return label
		}
		name, _, _ := strings.Cut(target[1:], "^")
		return "@" + name
	}
	return link(label, strings.TrimPrefix(target, "mailto:"))
}

// link writes a link as text.
func link(label, url string) string {
	if bare := strings.TrimSuffix(url, "/"); label == "" || label == url || label == bare || strings.HasSuffix(bare, "://"+label) {
		return url
	}
	return label + " (" + url + ")"
}
