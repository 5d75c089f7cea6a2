package component

import (
	"context"

	"posthorn/internal/stream"
)

// answer replies to a question (RFC 6120 §8.2.3: every get and set gets one).
func (s *session) answer(ctx context.Context, iq *stream.Element) {
	kind, from := iq.Attr("type"), iq.Attr("from")
	switch {
	case kind != "get" && kind != "set" || from == "" || len(from)+len(iq.Attr("id")) > maxEcho:
	case s.c.desk.isOrder(iq, s.c.opts.Domain):
		s.order(ctx, iq)
	default:
		s.reply(appendAnswer(nil, iq, &s.c.opts))
	}
}

// reply hands an answer to the writer. Where that is behind, the answer is dropped:
// who asks in floods waits.
func (s *session) reply(answer []byte) {
	select {
	case s.answers <- answer:
	default:
		s.c.metrics.dropped.WithLabelValues("flood").Inc()
	}
}

// maxEcho bounds what a stranger can make us repeat: an address and an id.
const maxEcho = 4 << 10 // bytes

const (
	nsDiscoInfo  = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsVersion    = "jabber:iq:version"
	nsPing       = "urn:xmpp:ping"
)

// appendAnswer writes the reply to iq. The component itself answers; there is
// nobody behind the other addresses of its domain.
func appendAnswer(dst []byte, iq *stream.Element, opts *Options) []byte {
	if iq.Attr("type") == "get" && iq.Attr("to") == opts.Domain && len(iq.Children) == 1 {
		query := iq.Children[0]
		switch {
		case query.Name.Space == nsPing && query.Name.Local == "ping": // XEP-0199 §3
			return append(appendReply(dst, iq, "result"), "</iq>"...)
		case query.Name.Space == nsDiscoInfo && query.Name.Local == "query",
			query.Name.Space == nsDiscoItems && query.Name.Local == "query" && len(opts.Commands) > 0:
			return appendDisco(dst, iq, query, opts)
		case query.Name.Space == nsVersion && query.Name.Local == "query": // XEP-0092 §2
			dst = append(appendReply(dst, iq, "result"), "<query xmlns='jabber:iq:version'><name>posthorn</name>"...)
			dst = appendOptionalText(dst, "version", opts.Version)
			return append(dst, "</query></iq>"...)
		}
	}
	return appendErrorReply(dst, iq, "service-unavailable")
}

// appendErrorReply writes the whole reply with that condition, which trying again
// does not change.
func appendErrorReply(dst []byte, iq *stream.Element, condition string) []byte {
	return appendError(dst, iq, &stanzaError{kind: "cancel", condition: condition})
}

// A stanzaError is why a question has no result (RFC 6120 §8.3).
type stanzaError struct {
	kind      string // what to do about it: cancel, modify, auth, wait
	condition string
	specific  string // to commands (XEP-0050 §4.4); empty: nothing
	text      string // for people; may be empty
}

func badRequest(specific string) *stanzaError {
	return &stanzaError{kind: "modify", condition: "bad-request", specific: specific}
}

// appendError writes the whole reply.
func appendError(dst []byte, iq *stream.Element, err *stanzaError) []byte {
	dst = append(appendReply(dst, iq, "error"), "<error"...)
	dst = appendAttr(dst, "type", err.kind)
	dst = append(dst, "><"...)
	dst = append(dst, err.condition...)
	dst = append(dst, " xmlns='"+nsStanzaErrors+"'/>"...)
	if err.text != "" {
		dst = append(dst, "<text xmlns='"+nsStanzaErrors+"' xml:lang='en'>"...)
		dst = append(appendEscaped(dst, allowed(err.text)), "</text>"...)
	}
	if err.specific != "" {
		dst = append(dst, '<')
		dst = append(dst, err.specific...)
		dst = append(dst, " xmlns='"+nsCommands+"'/>"...)
	}
	return append(dst, "</error></iq>"...)
}

// appendReply writes the start tag of the reply.
func appendReply(dst []byte, iq *stream.Element, kind string) []byte {
	dst = append(dst, "<iq"...)
	dst = appendAttr(dst, "type", kind)
	dst = appendAttr(dst, "from", iq.Attr("to"))
	dst = appendAttr(dst, "to", iq.Attr("from"))
	dst = appendAttr(dst, "id", iq.Attr("id"))
	return append(dst, '>')
}
