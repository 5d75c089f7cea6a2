package render

import (
	"regexp"
	"strings"

	"posthorn/internal/message"
)

// markdownRules turn Markdown into XEP-0393, in this order.
var markdownRules = []struct {
	is   *regexp.Regexp
	gets string
}{
	{regexp.MustCompile(`(?s)<!--.*?-->`), ""},
	{regexp.MustCompile(`!\[([^\]\n]*)\]\(([^)\s]+)[^)\n]*\)`), "$1 ($2)"},
	{regexp.MustCompile(`\[([^\]\n]+)\]\(([^)\s]+)[^)\n]*\)`), "$1 ($2)"},
	{regexp.MustCompile(`(?m)^(\s*)\* +`), "$1- "},
	{regexp.MustCompile(`\*\*([^*\n]+)\*\*`), "*$1*"},
	{regexp.MustCompile(`__([^_\n]+)__`), "*$1*"},
	{regexp.MustCompile(`~~([^~\n]+)~~`), "~$1~"},
	{regexp.MustCompile(`(?m)^#{1,6} +(.*?)[ #]*$`), "*$1*"},
}

// tag is a tag of the HTML that people write into Markdown, with the address of a
// picture, or code, which may show one.
var tag = regexp.MustCompile("(?i)`[^`\n]*`|<img\\b[^>\n]*\\bsrc=\"([^\"\\s>]+)\"[^>\n]*>|</?(?:a|b|br|details|div|em|h[1-6]|hr|i|img|kbd|li|ol|p|picture|source|strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul)(?:[\\s/][^>\n]*)?>")

func withoutTags(s string) string {
	return tag.ReplaceAllStringFunc(s, func(found string) string {
		if found[0] == '`' {
			return found
		}
		return tag.ReplaceAllString(found, "$1")
	})
}

// markdown gives Markdown the form in which chats show it: what they have too is
// written as XEP-0393 has it, links as text, and comments and tags are left out. Code
// stays as it is.
func markdown(s string) string {
	parts := strings.Split(message.UnixLines(s), "```")
	for i := 0; i < len(parts); i += 2 { // the others are code
		parts[i] = withoutTags(parts[i])
		for _, rule := range markdownRules {
			parts[i] = rule.is.ReplaceAllString(parts[i], rule.gets)
		}
	}
	return strings.TrimSpace(strings.Join(parts, "```"))
}
