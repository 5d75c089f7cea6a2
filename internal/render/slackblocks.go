package render

import (
	"fmt"
	"iter"
	"strings"
)

// maxSlack bounds attachments, blocks and what is in them, as Slack does.
const maxSlack = 50

// few gives the items that are looked at: none where there is more than enough to read.
func (m *slackWriter) few(list []any) iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, item := range first(maxSlack, list) {
			if m.out.Len() > maxStyled || !yield(item) {
				return
			}
		}
	}
}

// blocks writes Slack's blocks, but for those that ask for something.
func (m *slackWriter) blocks(list []any) {
	for b := range m.few(list) {
		elements := each(b, "elements")
		switch text(get(b, "type")) {
		case "header":
			m.title(m.object(get(b, "text")))
		case "section":
			m.section(b)
		case "context":
			m.say(m.context(elements))
		case "actions":
			m.buttons(elements)
		case "divider":
			m.gap = true
		case "image":
			m.picture(m.object(pick(b, "title", "alt_text")), get(b, "image_url"))
		case "video":
			m.address(m.object(get(b, "title")), pick(b, "title_url", "video_url"))
		case "markdown":
			m.say(m.markdown(text(get(b, "text"))))
		case "rich_text":
			m.say(m.rich(elements))
		case "table":
			m.say(m.table(each(b, "rows")))
		}
	}
}

// object writes a text object, which is mrkdwn or plain, or a text.
func (m *slackWriter) object(o any) string {
	if s, is := o.(string); is {
		return m.mrkdwnLinked(s)
	}
	s := text(get(o, "text"))
	if text(get(o, "type")) == "plain_text" {
		return m.shortCodes(cut(maxStyled, s))
	}
	return m.mrkdwnLinked(s)
}

func (m *slackWriter) section(b any) {
	m.say(m.object(get(b, "text")))
	for f := range m.few(each(b, "fields")) {
		m.say(m.sectionField(m.object(f)))
	}
	accessory := get(b, "accessory")
	m.buttons([]any{accessory})
	m.picture(m.object(get(accessory, "alt_text")), get(accessory, "image_url"))
}

// sectionField writes a field of a section, which by custom is a bold name above its
// value.
func (m *slackWriter) sectionField(s string) string {
	name, value, found := strings.Cut(s, "\n")
	if found && strings.HasPrefix(name, "*") && !strings.Contains(value, "\n") {
		return m.labelled(strings.Trim(name, "*: "), value)
	}
	return s
}

// context writes texts in a row. The pictures between them are icons.
func (m *slackWriter) context(elements []any) string {
	var words []string
	for _, e := range elements {
		if s := oneLine(m.object(e)); s != "" {
			words = append(words, s)
		}
	}
	return strings.Join(words, " · ")
}

// table writes rows as Markdown has them.
func (m *slackWriter) table(rows []any) string {
	var lines []string
	for _, row := range rows {
		var cells []string
		for _, cell := range each(row) {
			words := text(get(cell, "text"))
			if words == "" {
				words = m.rich(each(cell, "elements"))
			}
			cells = append(cells, oneLine(words))
		}
		lines = append(lines, "| "+strings.Join(cells, " | ")+" |")
	}
	return strings.Join(lines, "\n")
}

// rich writes the elements of rich text: sections, lists, quotations and code.
func (m *slackWriter) rich(elements []any) string {
	var lines []string
	for _, e := range elements {
		switch kind, inner := text(get(e, "type")), each(e, "elements"); kind {
		case "rich_text_list":
			lines = append(lines, m.list(e, inner))
		case "rich_text_quote":
			lines = append(lines, quote(m.spans(inner, false)))
		case "rich_text_preformatted":
			lines = append(lines, preformatted(m.spans(inner, true)))
		case "rich_text_section":
			lines = append(lines, strings.Trim(m.spans(inner, false), "\n"))
		}
	}
	return strings.Join(lines, "\n")
}

func (m *slackWriter) list(e any, items []any) string {
	var lines []string
	indent := strings.Repeat("  ", int(min(max(whole(get(e, "indent")), 0), 8)))
	for i, item := range items {
		bullet := "-"
		if text(get(e, "style")) == "ordered" {
			bullet = fmt.Sprintf("%d.", whole(get(e, "offset"))+int64(i)+1)
		}
		lines = append(lines, indent+bullet+" "+m.spans(each(item, "elements"), false))
	}
	return strings.Join(lines, "\n")
}

// spans writes what stands in a line, of code without styles.
func (m *slackWriter) spans(elements []any, code bool) string {
	var out strings.Builder
	for _, e := range elements {
		s := m.span(e)
		if at := strings.TrimRight(out.String(), " \n"); !code && (at == "" || len(at) < out.Len()) {
			s = withStyle(get(e, "style"), s)
		}
		out.WriteString(s)
	}
	return out.String()
}

func (m *slackWriter) span(e any) string {
	switch field := func(name string) string { return text(get(e, name)) }; field("type") {
	case "link":
		return linked(field("text"), field("url"))
	case "emoji":
		return m.shortCodes(":" + field("name") + ":")
	case "user":
		return "@" + field("user_id")
	case "usergroup":
		return "@" + field("usergroup_id")
	case "channel":
		return "#" + field("channel_id")
	case "broadcast":
		return "@" + field("range")
	case "color":
		return field("value")
	case "date":
		return text(defaultTo(moment(get(e, "timestamp")), get(e, "fallback")))
	default:
		return field("text")
	}
}

// withStyle puts the signs of XEP-0393 §5.2 around the words of a text, not around the
// blanks before and behind them.
func withStyle(style any, s string) string {
	words := strings.TrimSpace(s)
	if words == "" || strings.Contains(words, "\n") {
		return s
	}
	before, behind, _ := strings.Cut(s, words)
	for _, sign := range [...]struct{ name, sign string }{{"code", "`"}, {"strike", "~"}, {"italic", "_"}, {"bold", "*"}} {
		if !empty(get(style, sign.name)) && !strings.Contains(words, sign.sign) {
			words = sign.sign + words + sign.sign
		}
	}
	return before + words + behind
}
