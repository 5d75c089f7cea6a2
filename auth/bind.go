package auth

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"gosrc.io/xmpp/stanza"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

const (
	nsBind         = "urn:ietf:params:xml:ns:xmpp-bind"
	nsStanzaErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"
)

// admitted finds out whether the account, whose password is right, may use the
// server: it binds a resource, of the server's choice and without presence, so
// that nothing is sent to it (RFC 6120 §7). It gives nil, errRefused, or a
// *ProbeError.
//
// ejabberd decides by the access rule of its listener, and does so here: SASL
// succeeds for an account that the rule denies (23.01, 2026-11). Prosody
// decides in SASL. Nothing on the wire tells the one sort from the other before
// it refuses, so each is asked, which costs 0.5 ms.
func (s *session) admitted(account message.JID) error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.send("<iq type='set' id='bind'><bind xmlns='" + nsBind + "'/></iq>"); err != nil {
		return err
	}
	for {
		answer, err := s.next()
		if err != nil {
			return err
		}
		if answer.Name == (xml.Name{Space: stanza.NSClient, Local: "iq"}) && answer.Attr("id") == "bind" {
			return s.bound(answer, account)
		}
	}
}

// bound reads the answer (RFC 6120 §7.6). The account that speaks is the one
// that the server means, and no other.
func (s *session) bound(answer *stream.Element, account message.JID) error {
	if answer.Attr("type") != "result" {
		condition, _ := answer.Child(stanza.NSClient, "error").Condition(nsStanzaErrors)
		if condition == "not-allowed" {
			return errRefused
		}
		return s.fail(NotNow, fmt.Errorf("no session: %s", shorten(condition)))
	}
	var full string
	if jid := answer.Child(nsBind, "bind").Child(nsBind, "jid"); jid != nil {
		full = jid.Text
	}
	bare, _, _ := strings.Cut(full, "/")
	if meant, err := message.ParseAccount(bare); err != nil || meant != account {
		return s.fail(Broken, errors.New("the server takes the account for another one"))
	}
	return nil
}
