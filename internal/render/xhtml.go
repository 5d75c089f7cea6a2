package render

import (
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxQuoted bounds quotations in one another: what message.SanitizeHTML takes is
// bounded, and so is a phone's width.
const maxQuoted = 8

// XHTML writes a text styled by XEP-0393 as HTML, for message.SanitizeHTML to check:
// the same words, without the signs, in bold and so on, with links.
func XHTML(body string) string {
	var p page
	p.blocks(strings.Split(body, "\n"), 0)
	return p.out.String()
}

// A page is HTML as far as it is written.
type page struct {
	out    strings.Builder
	inText bool // in a paragraph
}

// blocks writes lines as blocks (XEP-0393 §5.1), which stand in depth quotations.
func (p *page) blocks(lines []string, depth int) {
	for len(lines) > 0 {
		switch l := lines[0]; {
		case strings.HasPrefix(l, "```"):
			lines = p.preformatted(l[3:], lines[1:])
		case strings.HasPrefix(l, ">") && depth < maxQuoted:
			lines = p.quotation(lines, depth)
		default:
			p.plain(l)
			lines = lines[1:]
		}
	}
	p.endText()
}

// plain writes a line. Lines without an empty one between them are a paragraph.
func (p *page) plain(l string) {
	switch {
	case strings.TrimSpace(l) == "":
		p.endText()
		return
	case p.inText:
		p.out.WriteString("<br/>")
	default:
		p.out.WriteString("<p>")
		p.inText = true
	}
	p.spans(l, "")
}

func (p *page) endText() {
	if p.inText {
		p.out.WriteString("</p>")
	}
	p.inText = false
}

// preformatted writes lines as they are, to the one that is the sign alone or to the
// end (XEP-0393 §5.1.2), and gives those behind. What stands beside the first sign may
// be the name of a language, or the code itself, so it is kept.
func (p *page) preformatted(beside string, lines []string) (rest []string) {
	var code []string
	if beside != "" {
		code = append(code, beside)
	}
	for len(lines) > 0 && lines[0] != "```" {
		code, lines = append(code, lines[0]), lines[1:]
	}
	p.endText()
	p.out.WriteString("<p>")
	p.monospace(strings.Join(code, "\n"))
	p.out.WriteString("</p>")
	return lines[min(1, len(lines)):]
}

// quotation writes the lines that begin with the sign, without it and the blank behind
// it (XEP-0393 §5.1.3), and gives those behind.
func (p *page) quotation(lines []string, depth int) (rest []string) {
	var quoted []string
	for len(lines) > 0 && strings.HasPrefix(lines[0], ">") {
		l := lines[0][1:]
		if r, size := utf8.DecodeRuneInString(l); isBlank(r) {
			l = l[size:]
		}
		quoted, lines = append(quoted, l), lines[1:]
	}
	p.endText()
	p.out.WriteString("<blockquote>")
	p.blocks(quoted, depth+1)
	p.out.WriteString("</blockquote>")
	return lines
}

// isBlank is XEP-0393 §4's whitespace character: of the property White_Space or of
// category Z.
func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Z, r) }

// tags are what styles a span, by its sign (XEP-0393 §5.2).
var tags = map[byte][2]string{
	'*': {"<strong>", "</strong>"},
	'_': {"<em>", "</em>"},
	'~': {`<span style="text-decoration: line-through">`, "</span>"},
}

// spans writes what stands in a line, or between the signs outside, of which the last
// one opened just before.
func (p *page) spans(s, outside string) {
	plain := 0                      // what begins there is not written yet
	unclosed := make(map[byte]bool) // signs that have no end from here on, so that none is looked for twice
	for i := 0; i < len(s); i++ {
		sign := s[i]
		if !strings.ContainsRune("*_~`", rune(sign)) || unclosed[sign] || !opens(s, i, outside) {
			continue
		}
		end := closing(s, i)
		if end < 0 {
			unclosed[sign] = true
			continue
		}
		p.text(s[plain:i])
		p.span(sign, s[i+1:end], outside)
		i, plain = end, end+1
	}
	p.text(s[plain:])
}

func (p *page) span(sign byte, inner, outside string) {
	if sign == '`' {
		p.monospace(inner)
		return
	}
	p.out.WriteString(tags[sign][0])
	p.spans(inner, outside+string(sign))
	p.out.WriteString(tags[sign][1])
}

// opens reports whether the sign at i opens a span: at the beginning of a line, behind a
// blank or behind another sign that has opened one, and before no blank.
func opens(s string, i int, outside string) bool {
	if i > 0 || outside != "" && strings.IndexByte(outside, s[0]) >= 0 {
		if before, _ := utf8.DecodeLastRuneInString(s[:i]); !isBlank(before) {
			return false
		}
	}
	after, size := utf8.DecodeRuneInString(s[i+1:])
	return size > 0 && !isBlank(after)
}

// closing finds the end of the span that opens at i: the first such sign that has text,
// which more of the signs are not, and no blank before it.
func closing(s string, i int) int {
	begin := i
	for begin < len(s) && s[begin] == s[i] {
		begin++
	}
	for end := begin + 1; end < len(s); end++ {
		if s[end] != s[i] {
			continue
		}
		if before, _ := utf8.DecodeLastRuneInString(s[:end]); !isBlank(before) {
			return end
		}
	}
	return -1
}

// monospace writes code, with its lines and blanks.
func (p *page) monospace(code string) {
	code = strings.NewReplacer("\n", "<br/>", "  ", "\u00a0 ").Replace(html.EscapeString(code))
	p.out.WriteString(`<span style="font-family: monospace">` + code + "</span>")
}

// address is what can be followed from a message.
var address = regexp.MustCompile(`(?:https?://|xmpp:|mailto:)[^\s<>"]+`)

// text writes what has no style, and links where an address is.
func (p *page) text(s string) {
	for {
		at := address.FindStringIndex(s)
		if at == nil {
			p.out.WriteString(html.EscapeString(s))
			return
		}
		end := at[0] + len(trimAddress(s[at[0]:at[1]]))
		link := html.EscapeString(s[at[0]:end])
		p.out.WriteString(html.EscapeString(s[:at[0]]) + `<a href="` + link + `">` + link + "</a>")
		s = s[end:]
	}
}

// trimAddress takes from the end what belongs to the sentence around an address: a full
// stop, or the bracket that was opened before it.
func trimAddress(s string) string {
	unopened := strings.Count(s, ")") - strings.Count(s, "(")
	for s != "" {
		switch last := s[len(s)-1]; {
		case strings.IndexByte(".,;:!?'", last) >= 0:
		case last == ')' && unopened > 0:
			unopened--
		default:
			return s
		}
		s = s[:len(s)-1]
	}
	return s
}
