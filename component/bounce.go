package component

import (
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

const (
	nsStanzaErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"
)

// conditions says what a stanza error means for the one who sent the message
// (RFC 6120 §8.3.3, in the order of its subsections).
var conditions = map[string]fault.Kind{
	"bad-request":             fault.Unsendable,
	"conflict":                fault.Conflict,
	"feature-not-implemented": fault.Unsendable,
	"forbidden":               fault.Forbidden,
	"gone":                    fault.Undeliverable,
	"internal-server-error":   fault.RemoteFailed,
	"item-not-found":          fault.Undeliverable,
	"jid-malformed":           fault.Unsendable,
	"not-acceptable":          fault.Unsendable,
	"not-allowed":             fault.Forbidden,
	"not-authorized":          fault.Forbidden,
	"policy-violation":        fault.Forbidden,
	"recipient-unavailable":   fault.Undeliverable,
	"redirect":                fault.Undeliverable,
	"registration-required":   fault.Forbidden,
	"remote-server-not-found": fault.RemoteFailed,
	"remote-server-timeout":   fault.RemoteFailed,
	"resource-constraint":     fault.RemoteFailed,
	"service-unavailable":     fault.Undeliverable,
	"subscription-required":   fault.Forbidden,
	"undefined-condition":     fault.RemoteFailed,
	"unexpected-request":      fault.Unsendable,
}

// errorTypes serves for a condition that is not in the list (RFC 6120 §8.3.2).
var errorTypes = map[string]fault.Kind{
	"auth":   fault.Forbidden,
	"cancel": fault.Undeliverable,
	"modify": fault.Unsendable,
	"wait":   fault.RemoteFailed,
}

// bounceOf reads the error that came back for a message to the recipient. A
// server does not tell an unknown account from a blocked sender or a full
// mailbox, so neither does the text.
func bounceOf(stanza *stream.Element, to message.JID) *fault.Error {
	e := stanza.Child(stanza.Name.Space, "error")
	condition, text := e.Condition(nsStanzaErrors)
	kind, known := conditions[condition]
	if !known {
		kind = fault.RemoteFailed
		if e != nil {
			if byType, ok := errorTypes[e.Attr("type")]; ok {
				kind = byType
			}
		}
	}
	if condition == "" {
		condition = "undefined-condition"
	}
	if text = oneLine(text); text != "" {
		text = ": " + text
	}
	f := fault.New(kind, "the server would not deliver to %s (%s)%s", to, oneLine(condition), text)
	f.Passing = condition == "remote-server-timeout" || e != nil && e.Attr("type") == "wait" // RFC 6120 §8.3.2
	return f
}

// conditionOf names the condition of a stanza of type error.
func conditionOf(e *stream.Element) string {
	condition, _ := e.Child(e.Name.Space, "error").Condition(nsStanzaErrors)
	return condition
}

// notReflected is the answer for a message that a room took and nobody saw.
func notReflected(d *delivery) *fault.Error {
	return fault.New(fault.Unconfirmed, "the room %s did not send the message back in time: it may or may not have been said there", d.message.To)
}

// oneLine makes a peer's text fit for a log and a detail.
func oneLine(s string) string {
	const limit = 200 // bytes: a line on a screen, twice
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
