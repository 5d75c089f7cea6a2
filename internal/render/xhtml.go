package render

import (
	"html"
	"regexp"
	"strings"
)

// XHTML gives a text styled by XEP-0393 as HTML, for message.SanitizeHTML to check: the
// same words, in bold and so on, with links.
func XHTML(body string) string {
	var out strings.Builder
	rest := body
	for rest != "" {
		var l string
		l, rest, _ = strings.Cut(rest, "\n")
		switch {
		case strings.HasPrefix(l, "```"): // XEP-0393 §5.1.2; without its end, it goes to the end
			var code string
			code, rest = fenced(rest)
			out.WriteString("<p>" + monospace(strings.ReplaceAll(html.EscapeString(code), "\n", "<br/>")) + "</p>")
		case strings.HasPrefix(l, ">"): // XEP-0393 §5.1.3
			var quoted string
			quoted, rest = quotation(l, rest)
			out.WriteString("<blockquote>" + XHTML(quoted) + "</blockquote>")
		default:
			out.WriteString("<p>" + spans(l) + "</p>")
		}
	}
	return out.String()
}

func fenced(s string) (code, rest string) {
	if strings.HasPrefix(s, "```\n") || s == "```" {
		return "", strings.TrimPrefix(s[3:], "\n")
	}
	if code, rest, found := strings.Cut(s, "\n```\n"); found {
		return code, rest
	}
	return strings.TrimSuffix(s, "\n```"), ""
}

// quotation takes the lines of a quotation, without their signs.
func quotation(l, rest string) (quoted, after string) {
	var lines []string
	for {
		lines = append(lines, strings.TrimPrefix(strings.TrimPrefix(l, ">"), " "))
		if !strings.HasPrefix(rest, ">") {
			return strings.Join(lines, "\n"), rest
		}
		l, rest, _ = strings.Cut(rest, "\n")
	}
}

func monospace(s string) string { return `<span style="font-family: monospace">` + s + `</span>` }

// span is one styled piece of a line, or an address (XEP-0393 §5.2): the sign opens at
// the beginning of a word, and closes behind something that is no blank.
var span = regexp.MustCompile("(?:^|[\\s(])(\\*[^*\\s](?:[^*]*[^*\\s])?\\*|_[^_\\s](?:[^_]*[^_\\s])?_|~[^~\\s](?:[^~]*[^~\\s])?~|`[^`\\s](?:[^`]*[^`\\s])?`|https?://[^\\s<>\"]+)")

// spans writes one line. Pieces do not stand in one another here.
func spans(l string) string {
	var out strings.Builder
	for {
		at := span.FindStringSubmatchIndex(l)
		if at == nil {
			return out.String() + html.EscapeString(l)
		}
		out.WriteString(html.EscapeString(l[:at[2]]))
		out.WriteString(styledSpan(l[at[2]:at[3]]))
		l = l[at[3]:]
	}
}

func styledSpan(s string) string {
	inner := html.EscapeString(s[1 : len(s)-1])
	switch s[0] {
	case '*':
		return "<strong>" + inner + "</strong>"
	case '_':
		return "<em>" + inner + "</em>"
	case '~':
		return `<span style="text-decoration: line-through">` + inner + `</span>`
	case '`':
		return monospace(inner)
	}
	address := strings.TrimRight(s, ".,;:!?)")
	escaped := html.EscapeString(address)
	return `<a href="` + escaped + `">` + escaped + `</a>` + html.EscapeString(s[len(address):])
}
