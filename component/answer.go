package component

import (
	"posthorn/internal/stream"
)

// answer replies to a question (RFC 6120 §8.2.3: every get and set gets one).
// Where the writer is behind, the reply is dropped: who asks in floods waits.
func (s *session) answer(iq *stream.Element) {
	kind, from := iq.Attr("type"), iq.Attr("from")
	if kind != "get" && kind != "set" || from == "" || len(from)+len(iq.Attr("id")) > maxEcho {
		return
	}
	select {
	case s.answers <- appendAnswer(nil, iq, s.c.opts):
	default:
		s.c.metrics.dropped.WithLabelValues("flood").Inc()
	}
}

// maxEcho bounds what a stranger can make us repeat: an address and an id.
const maxEcho = 4 << 10 // bytes

const (
	nsDiscoInfo = "http://jabber.org/protocol/disco#info"
	nsVersion   = "jabber:iq:version"
	nsPing      = "urn:xmpp:ping"
)

// appendAnswer writes the reply to iq. The component itself answers; there is
// nobody behind the other addresses of its domain.
func appendAnswer(dst []byte, iq *stream.Element, opts Options) []byte {
	if iq.Attr("type") == "get" && iq.Attr("to") == opts.Domain && len(iq.Children) == 1 {
		query := iq.Children[0]
		switch {
		case query.Name.Space == nsPing && query.Name.Local == "ping": // XEP-0199 §3
			return append(appendReply(dst, iq, "result"), "</iq>"...)
		case query.Name.Space == nsDiscoInfo && query.Name.Local == "query": // XEP-0030 §3.1
			if query.Attr("node") != "" {
				return appendErrorReply(dst, iq, "item-not-found")
			}
			return appendFeatures(appendReply(dst, iq, "result"))
		case query.Name.Space == nsVersion && query.Name.Local == "query": // XEP-0092 §2
			dst = append(appendReply(dst, iq, "result"), "<query xmlns='jabber:iq:version'><name>posthorn</name>"...)
			dst = appendOptionalText(dst, "version", opts.Version)
			return append(dst, "</query></iq>"...)
		}
	}
	return appendErrorReply(dst, iq, "service-unavailable")
}

func appendFeatures(dst []byte) []byte {
	dst = append(dst, "<query xmlns='"+nsDiscoInfo+"'><identity category='component' type='generic' name='posthorn'/>"...)
	for _, feature := range []string{nsDiscoInfo, nsVersion, nsPing} {
		dst = append(dst, "<feature"...)
		dst = appendAttr(dst, "var", feature)
		dst = append(dst, "/>"...)
	}
	return append(dst, "</query></iq>"...)
}

// appendErrorReply writes the whole reply with that condition (RFC 6120 §8.3).
func appendErrorReply(dst []byte, iq *stream.Element, condition string) []byte {
	dst = append(appendReply(dst, iq, "error"), "<error type='cancel'><"...)
	dst = append(dst, condition...)
	return append(dst, " xmlns='"+nsStanzaErrors+"'/></error></iq>"...)
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
