package xmpptest

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"

	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
)

// bindResource binds that resource (RFC 6120 §7.7), or for an empty one the
// server's choice. It stands in for mellium's own, which in v0.22.0 always lets
// the server choose: it writes an empty <resource/>.
func bindResource(resource string) xmpp.StreamFeature {
	feature := xmpp.BindResource()
	feature.Negotiate = func(_ context.Context, s *xmpp.Session, _ any) (xmpp.SessionState, io.ReadWriter, error) {
		_, err := fmt.Fprintf(s.Conn(), "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"+
			"<resource>%s</resource></bind></iq>", escape(resource))
		if err != nil {
			return 0, nil, err
		}
		bound, err := readBound(s)
		if err != nil {
			return 0, nil, fmt.Errorf("bind %q: %w", resource, err)
		}
		s.UpdateAddr(bound)
		return xmpp.Ready, nil, nil
	}
	return feature
}

// readBound reads the answer: nothing else can come before a resource is bound.
func readBound(s *xmpp.Session) (jid.JID, error) {
	r := s.TokenReader()
	defer r.Close()
	var answer struct {
		Bound string `xml:"urn:ietf:params:xml:ns:xmpp-bind bind>jid"`
		Error inner  `xml:"jabber:client error"`
	}
	if err := xml.NewTokenDecoder(r).Decode(&answer); err != nil {
		return jid.JID{}, err
	}
	if answer.Bound == "" {
		return jid.JID{}, fmt.Errorf("refused: %s", answer.Error.XML)
	}
	return jid.Parse(answer.Bound)
}
