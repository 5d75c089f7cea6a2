package message

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// maxHTMLDepth bounds the elements that stand in one another. Clients lay
// them out by recursion.
const maxHTMLDepth = 64

// xhtmlAttributes are the elements of XHTML-IM's recommended profile and the
// attributes that each may have (XEP-0071 §7.8), in the order in which they
// are written. What is not a key is no element that may be sent.
var xhtmlAttributes = map[string][]string{
	"a":          {"href", "style", "type"},
	"blockquote": {"style"},
	"br":         nil,
	"cite":       {"style"},
	"em":         nil,
	"img":        {"src", "alt", "height", "width", "style"},
	"li":         {"style"},
	"ol":         {"style"},
	"p":          {"style"},
	"span":       {"style"},
	"strong":     nil,
	"ul":         {"style"},
}

// SanitizeHTML reduces HTML to XHTML-IM (XEP-0071): its result is well-formed
// XML, the children of the body element, of the recommended profile's elements
// and attributes alone. The text of other elements stays, but for scripts and
// the like; where those elements began a line or a table's cell, a line break
// or a space keeps the words apart.
//
// The tokens are read one by one and no tree is built: a tree can be many
// times larger than the text that asks for it.
func SanitizeHTML(s string) (string, error) {
	if err := CheckText(s); err != nil {
		return "", err
	}
	w := xhtmlWriter{}
	tokens := html.NewTokenizer(strings.NewReader(s))
	for tokens.Next() != html.ErrorToken {
		if err := w.token(tokens.Token()); err != nil {
			return "", err
		}
	}
	if err := tokens.Err(); !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("is not HTML: %w", err)
	}
	w.closeTo(0)
	out := UnixLines(w.out.String())
	// Again, because a reference such as &#1; has become its character.
	return out, CheckText(out)
}

// An xhtmlWriter writes the elements that may be sent, closed in the order in
// which XML wants them.
type xhtmlWriter struct {
	out     strings.Builder
	open    []string // elements written and not closed, outermost first
	dropped string   // the element whose content is being dropped
	inLine  bool     // something stands on the line already
	gap     string   // what is due before the next thing on the line: nothing, a space or a break
}

func (w *xhtmlWriter) token(t html.Token) error {
	if w.dropped != "" {
		if t.Type == html.EndTagToken && t.Data == w.dropped || t.Type == html.StartTagToken && t.Data == "body" {
			w.dropped = ""
		}
		return nil
	}
	switch t.Type {
	case html.TextToken:
		w.text(t.Data)
	case html.StartTagToken, html.SelfClosingTagToken:
		return w.start(t)
	case html.EndTagToken:
		w.separate(t.Data)
		if i := w.innermost(xhtmlName(t.Data), ""); i >= 0 {
			w.closeTo(i)
		}
	}
	return nil
}

func (w *xhtmlWriter) start(t html.Token) error {
	switch t.Data {
	case "script", "style", "head", "title":
		w.dropped = t.Data
		return nil
	}
	name := xhtmlName(t.Data)
	allowed, known := xhtmlAttributes[name]
	if !known {
		w.separate(name)
		return nil
	}
	attributes := xhtmlAttributeText(t.Attr, allowed)
	if name == "img" && !strings.HasPrefix(attributes, " src=") {
		return nil // a picture without an address that may be fetched
	}
	w.closeImplied(name)
	if isLine[name] {
		w.newLine()
	} else {
		w.fill()
	}
	w.out.WriteString("<" + name + attributes)
	if name == "img" {
		w.inLine = true
	}
	switch {
	case name == "br" || name == "img":
		w.out.WriteString("/>")
	case t.Type == html.SelfClosingTagToken: // as XML means it, not HTML
		w.out.WriteString("></" + name + ">")
	case len(w.open) == maxHTMLDepth:
		return fmt.Errorf("has more than %d elements in one another", maxHTMLDepth)
	default:
		w.out.WriteString(">")
		w.open = append(w.open, name)
	}
	return nil
}

// isLine has the elements that begin and end a line by themselves.
var isLine = map[string]bool{"blockquote": true, "br": true, "li": true, "ol": true, "p": true, "ul": true}

// separate notes that an element which is not written begins or ends here.
func (w *xhtmlWriter) separate(name string) {
	switch name {
	case "address", "article", "aside", "caption", "center", "dd", "details", "dialog", "div", "dl", "dt",
		"fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
		"hr", "legend", "listing", "main", "menu", "nav", "option", "plaintext", "pre", "section", "summary",
		"table", "tbody", "tfoot", "thead", "tr", "xmp":
		if w.inLine {
			w.gap = "<br/>"
		}
	case "td", "th":
		if w.inLine && w.gap == "" {
			w.gap = " "
		}
	}
}

// text writes text. Blanks alone do not need the gap.
func (w *xhtmlWriter) text(s string) {
	if strings.TrimSpace(s) != "" {
		w.fill()
		w.inLine = true
	}
	w.out.WriteString(escapeText.Replace(s))
}

// fill writes the gap before something on the line.
func (w *xhtmlWriter) fill() {
	w.out.WriteString(w.gap)
	if w.gap == "<br/>" {
		w.inLine = false
	}
	w.gap = ""
}

// newLine notes that an element which is written begins or ends the line.
func (w *xhtmlWriter) newLine() { w.inLine, w.gap = false, "" }

// closeImplied closes what HTML lets an author leave open when the element
// name begins: a paragraph before a block, an item before the next one. And no
// link stands in a link.
func (w *xhtmlWriter) closeImplied(name string) {
	i := -1
	switch name {
	case "p", "blockquote", "ul", "ol":
		i = w.innermost("p", "")
	case "li":
		i = w.innermost("li", "ul ol")
	case "a":
		i = w.innermost("a", "")
	}
	if i >= 0 {
		w.closeTo(i)
	}
}

// innermost finds the element name among the open ones, not looking beyond
// those named in limits; -1: it is not open.
func (w *xhtmlWriter) innermost(name, limits string) int {
	for i, open := range slices.Backward(w.open) {
		if open == name {
			return i
		}
		if slices.Contains(strings.Fields(limits), open) {
			break
		}
	}
	return -1
}

// closeTo closes open elements until depth of them are left.
func (w *xhtmlWriter) closeTo(depth int) {
	for _, name := range slices.Backward(w.open[depth:]) {
		w.out.WriteString("</" + name + ">")
		if isLine[name] {
			w.newLine()
		}
	}
	w.open = w.open[:depth]
}

func xhtmlName(name string) string {
	switch name {
	case "b":
		return "strong"
	case "i":
		return "em"
	}
	return name
}

// xhtmlAttributeText writes the allowed attributes whose values are harmless.
func xhtmlAttributeText(given []html.Attribute, allowed []string) string {
	var out strings.Builder
	for _, name := range allowed {
		i := slices.IndexFunc(given, func(a html.Attribute) bool { return a.Namespace == "" && a.Key == name })
		if i < 0 {
			continue
		}
		if value := xhtmlValue(name, strings.TrimSpace(given[i].Val)); value != "" {
			out.WriteString(" " + name + `="` + escapeAttribute.Replace(value) + `"`)
		}
	}
	return out.String()
}

// xhtmlValue gives what may be sent of an attribute's value, "" for nothing.
func xhtmlValue(name, value string) string {
	switch name {
	case "href":
		return allowedURL(value, "http", "https", "mailto", "xmpp")
	case "src":
		return allowedURL(value, "http", "https", "cid")
	case "style":
		return allowedStyle(value)
	case "height", "width":
		if !cssSize.MatchString(value) {
			return ""
		}
	}
	return value
}

func allowedURL(value string, schemes ...string) string {
	if u, err := url.Parse(value); err != nil || !slices.Contains(schemes, u.Scheme) {
		return ""
	}
	return value
}

var (
	cssSize = regexp.MustCompile(`^[0-9]{1,5}%?$`)
	// cssValue has no parentheses, backslashes or slashes, so that no value
	// names something to fetch or to run.
	cssValue = regexp.MustCompile(`^[A-Za-z0-9 #.,%'+-]{1,100}$`)

	escapeText      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	escapeAttribute = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\t", " ", "\n", " ", "\r", " ")
)

// allowedStyle keeps the declarations of XEP-0071 §7.6.1's properties.
func allowedStyle(style string) string {
	var kept []string
	for declaration := range strings.SplitSeq(style, ";") {
		property, value, _ := strings.Cut(declaration, ":")
		property, value = lowerASCII(strings.TrimSpace(property)), strings.TrimSpace(value)
		switch property {
		case "background-color", "color", "font-family", "font-size", "font-style", "font-weight",
			"margin-left", "margin-right", "text-align", "text-decoration":
			if cssValue.MatchString(value) {
				kept = append(kept, property+": "+value)
			}
		}
	}
	return strings.Join(kept, "; ")
}
