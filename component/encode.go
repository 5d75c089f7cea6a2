package component

import (
	"time"

	"posthorn/internal/message"
)

// append writes the message as one stanza, in the form in which v speaks for
// its sender, and with the time of its acceptance, unless that is zero.
func (d *delivery) append(dst []byte, domain string, v voice, accepted time.Time) []byte {
	if d.toRoom() {
		m := *d.message
		m.From = d.occupant
		return appendMessage(dst, &m, "", domain, accepted)
	}
	if v.direct {
		return appendMessage(dst, d.message, "", domain, accepted)
	}
	// XEP-0356 §5.3: the stanza that the host shall send, in a wrapper to it.
	dst = append(dst, "<message"...)
	dst = appendAttr(dst, "from", domain)
	dst = appendAttr(dst, "to", d.message.From.Domain())
	dst = appendAttr(dst, "id", d.wireID)
	dst = append(dst, "><privilege"...)
	dst = appendAttr(dst, "xmlns", v.namespace)
	dst = append(dst, "><forwarded xmlns='urn:xmpp:forward:0'>"...)
	dst = appendMessage(dst, d.message, "jabber:client", domain, accepted)
	return append(dst, "</forwarded></privilege></message>"...)
}

// appendMessage writes the stanza itself (RFC 6121 §5.2); namespace is its
// xmlns, empty for the stream's own. Of one that was kept, domain says since when.
func appendMessage(dst []byte, m *message.Message, namespace, domain string, accepted time.Time) []byte {
	dst = append(dst, "<message"...)
	dst = appendOptionalAttr(dst, "xmlns", namespace)
	dst = appendAttr(dst, "from", string(m.From))
	dst = appendAttr(dst, "to", string(m.To))
	dst = appendAttr(dst, "type", string(m.Type))
	dst = appendAttr(dst, "id", m.ID)
	dst = appendOptionalAttr(dst, "xml:lang", m.Lang)
	dst = append(dst, '>')
	dst = appendOptionalText(dst, "subject", m.Subject)
	dst = appendOptionalText(dst, "body", m.Body)
	dst = appendOptionalText(dst, "thread", m.Thread)
	if m.HTML != "" { // XEP-0071 §5; message.SanitizeHTML made it well-formed
		dst = append(dst, "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"...)
		dst = append(dst, m.HTML...)
		dst = append(dst, "</body></html>"...)
	}
	if m.OOB.URL != "" { // XEP-0066 §3
		dst = append(dst, "<x xmlns='jabber:x:oob'>"...)
		dst = appendOptionalText(dst, "url", m.OOB.URL)
		dst = appendOptionalText(dst, "desc", m.OOB.Desc)
		dst = append(dst, "</x>"...)
	}
	if m.Replace != "" { // XEP-0308 §3
		dst = append(dst, "<replace xmlns='urn:xmpp:message-correct:0'"...)
		dst = appendAttr(dst, "id", m.Replace)
		dst = append(dst, "/>"...)
	}
	if !accepted.IsZero() { // XEP-0203 §2, in the form of XEP-0082 §3.2
		dst = append(dst, "<delay xmlns='urn:xmpp:delay'"...)
		dst = appendAttr(dst, "from", domain)
		dst = append(dst, " stamp='"...)
		dst = accepted.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		dst = append(dst, "'/>"...)
	}
	dst = append(dst, "<origin-id xmlns='urn:xmpp:sid:0'"...) // XEP-0359 §2.2
	dst = appendAttr(dst, "id", m.ID)
	return append(dst, "/></message>"...)
}

// appendBarrier writes an IQ to ourselves. The server handles stanzas in
// order, so when it is back, so is every error of what stood before it.
func appendBarrier(dst []byte, domain, id string) []byte {
	dst = append(dst, "<iq type='get'"...)
	dst = appendAttr(dst, "from", domain)
	dst = appendAttr(dst, "to", domain)
	dst = appendAttr(dst, "id", id)
	return append(dst, "><ping xmlns='urn:xmpp:ping'/></iq>"...)
}

func appendOptionalText(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	dst = append(dst, '<')
	dst = append(dst, name...)
	dst = append(dst, '>')
	dst = appendEscaped(dst, text)
	dst = append(dst, "</"...)
	dst = append(dst, name...)
	return append(dst, '>')
}

func appendOptionalAttr(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendAttr(dst, name, value)
}

func appendAttr(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, "='"...)
	dst = appendEscaped(dst, value)
	return append(dst, '\'')
}

// appendEscaped writes text such that it is the same in an attribute and
// between tags. Line feeds and tabs stay as they are between tags for every
// parser, but in an attribute they would come out as spaces (XML 1.0 §3.3.3);
// message.Validate keeps them out of those. A carriage return would become a
// line feed (§2.11).
func appendEscaped(dst []byte, text string) []byte {
	start := 0
	for i := 0; i < len(text); i++ {
		var entity string
		switch text[i] {
		case '<':
			entity = "&lt;"
		case '>':
			entity = "&gt;"
		case '&':
			entity = "&amp;"
		case '\'':
			entity = "&apos;"
		case '"':
			entity = "&quot;"
		case '\r':
			entity = "&#xD;"
		default:
			continue
		}
		dst = append(dst, text[start:i]...)
		dst = append(dst, entity...)
		start = i + 1
	}
	return append(dst, text[start:]...)
}
