package render

import (
	"strconv"
	"strings"
)

// slackMessage gives what a message to Slack says: text, which has its attachments and
// blocks in it too, username, hue, which is the colour of its first attachment that has
// one, and image, an address.
func (r *run) slackMessage(payload any) map[string]any {
	top, attachments := strings.TrimSpace(r.mrkdwnLinked(text(get(payload, "text")))), each(payload, "attachments")
	m := slackWriter{run: r, speaker: text(get(payload, "username"))}
	m.blocks(each(payload, "blocks"))
	if m.out.Len() > 0 { // then the text is for notifications
		top = ""
	}
	m.attachments(attachments)
	said := m.out.String()
	if plain := unstyled(linksWritten(top)); !strings.Contains(unstyled(linksWritten(said)), plain) {
		below := slackWriter{run: r, speaker: m.speaker, above: plain}
		below.attachments(attachments)
		said = strings.TrimRight(oneOfTwo(top)+"\n"+below.out.String(), "\n")
	}
	if strings.HasPrefix(said, m.speaker) {
		m.speaker = ""
	}
	return map[string]any{"text": summarized(said), "username": m.speaker, "hue": m.hue, "image": m.image}
}

// oneOfTwo makes a line of two, of which the first tends to be a title.
func oneOfTwo(s string) string {
	first, second, _ := strings.Cut(s, "\n")
	if strings.Contains(s, "://") || strings.HasPrefix(s, ">") || strings.HasPrefix(s, "```") {
		return s
	}
	return titled(first, second)
}

// summarized keeps the first line free of addresses, which come last.
func summarized(said string) string {
	first, rest, _ := strings.Cut(said, "\n")
	first, links := linksBelow(first)
	rest = linksWritten(rest)
	for _, l := range links {
		if _, address, _ := strings.Cut(l, ": "); !hasAddress(rest, address) {
			rest += "\n" + l
		}
	}
	said = strings.Trim(first+"\n"+strings.Trim(rest, "\n"), "\n")
	if strings.HasPrefix(said, ">") || strings.HasPrefix(said, "```") {
		return "\n" + said // what comes before it must not take it from the beginning of its line
	}
	return said
}

// unstyled gives a text as it is compared with others.
func unstyled(s string) string { return strings.NewReplacer("*", "", "_", "", "~", "").Replace(s) }

// A slackWriter writes what a message says, line by line.
type slackWriter struct {
	*run
	out        strings.Builder
	speaker    string // is shown already
	above      string // is too, here unstyled
	gap        bool   // an empty line is due before the next one
	hue, image string
}

func (m *slackWriter) say(lines string) {
	lines = strings.Trim(lines, "\n")
	if strings.TrimSpace(lines) == "" || strings.EqualFold(lines, m.speaker) || m.isAbove(lines) {
		return
	}
	if m.out.Len() > 0 {
		m.out.WriteByte('\n')
		if m.gap {
			m.out.WriteByte('\n')
		}
	}
	m.gap = false
	m.out.WriteString(lines)
}

// title is the summary where nothing stands above it, and else a heading.
func (m *slackWriter) title(s string) {
	if s = oneLine(s); m.above != "" || m.out.Len() > 0 {
		s = styled("*", s)
	}
	m.say(s)
}

// attachments writes Slack's older form of blocks, and Mattermost's only one.
func (m *slackWriter) attachments(list []any) {
	for a := range m.few(list) {
		begin := m.out.Len()
		m.gap = begin > 0
		m.attachment(a)
		if m.out.Len() == begin {
			m.say(m.field(a, "fallback"))
		}
		if m.hue == "" {
			m.hue = hue(text(get(a, "color")))
		}
	}
}

// isAbove reports whether a text stands above already.
func (m *slackWriter) isAbove(s string) bool {
	return m.above != "" && strings.Contains(m.above, unstyled(linksWritten(s)))
}

func (m *slackWriter) field(a any, name string) string {
	return m.mrkdwnLinked(text(get(a, name)))
}

func (m *slackWriter) attachment(a any) {
	m.title(m.field(a, "title"))
	m.say(m.field(a, "pretext"))
	m.say(m.field(a, "author_name"))
	m.say(m.field(a, "text"))
	m.blocks(each(a, "blocks"))
	for f := range m.few(each(a, "fields")) {
		m.say(m.labelled(m.field(f, "title"), m.field(f, "value")))
	}
	m.address("", get(a, "title_link"))
	m.buttons(each(a, "actions"))
	m.picture("", get(a, "image_url"))
	m.say(m.field(a, "footer"))
}

// longValue is what is worth looking for above, in bytes: a word may stand there for
// something else.
const longValue = 16

// labelled leaves out what stands above.
func (m *slackWriter) labelled(label, value string) string {
	if len(value) >= longValue && m.isAbove(value) {
		return ""
	}
	return labelled(label, value)
}

// labelled writes a label and what belongs to it.
func labelled(label, value string) string {
	label = strings.TrimSuffix(oneLine(label), ":")
	switch {
	case label == "" || value == "":
		return label + value
	case strings.Contains(value, "\n"):
		return label + ":\n" + value
	}
	return label + ": " + value
}

// address writes where to find more, once.
func (m *slackWriter) address(label string, address any) {
	if url := text(address); url != "" && !hasAddress(m.out.String(), url) {
		m.say(labelled(linksWritten(label), url))
	}
}

// hasAddress reports whether an address stands in a text, and not only one that is longer.
func hasAddress(s, address string) bool {
	s += "\n"
	for _, behind := range []string{"\n", ")", "\x03"} {
		if strings.Contains(s, address+behind) {
			return true
		}
	}
	return false
}

// buttons writes those that lead to an address; others need Slack.
func (m *slackWriter) buttons(list []any) {
	for b := range m.few(list) {
		m.address(m.object(get(b, "text")), get(b, "url"))
	}
}

// picture writes the address of a picture, and notes that of the first one.
func (m *slackWriter) picture(label string, address any) {
	m.address(label, address)
	if m.image == "" {
		m.image = text(address)
	}
}

// hue names the colour of an attachment as people see it: red, yellow, green, or nothing
// for others. Slack's own three are severities.
func hue(color string) string {
	if severity, is := map[string]string{"danger": "red", "warning": "yellow", "good": "green"}[color]; is {
		return severity
	}
	hex := strings.TrimPrefix(color, "#")
	rgb, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		return ""
	}
	switch degrees := hueOf(float64(rgb>>16), float64(rgb>>8&0xff), float64(rgb&0xff)); {
	case degrees < 0:
		return ""
	case degrees < 20 || degrees > 330:
		return "red"
	case degrees < 70:
		return "yellow"
	case degrees < 170:
		return "green"
	}
	return ""
}

// hueOf gives the angle of a colour on the wheel that has red at the top, and -1 for
// greys.
func hueOf(red, green, blue float64) float64 {
	top := max(red, green, blue)
	span := top - min(red, green, blue)
	switch {
	case span < 48:
		return -1
	case top == red && green >= blue:
		return 60 * (green - blue) / span
	case top == red:
		return 360 + 60*(green-blue)/span
	case top == green:
		return 120 + 60*(blue-red)/span
	}
	return 240 + 60*(red-green)/span
}
