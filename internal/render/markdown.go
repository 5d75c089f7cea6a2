package render

import (
	"regexp"
	"strings"
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

// markdown gives Markdown the form in which chats show it: what they have too is
// written as XEP-0393 has it, links as text, and comments are left out. Code stays as
// it is.
func markdown(s string) string {
	parts := strings.Split(s, "```")
	for i := 0; i < len(parts); i += 2 { // the others are code
		for _, rule := range markdownRules {
			parts[i] = rule.is.ReplaceAllString(parts[i], rule.gets)
		}
	}
	return strings.TrimSpace(strings.Join(parts, "```"))
}
