package component

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

const (
	// hint answers a person who writes to us. No secret is ever sent like this:
	// archives keep messages, and other clients get copies.
	hint = "I read no messages. To make, list or revoke tokens, open the commands of this address in your client (ad-hoc commands), or POST to /tokens by HTTP. Never send anybody a password or a token in a message."

	hintPause = time.Minute // between two for one account, so that two robots do not talk for ever
	maxHinted = 1000        // accounts that are remembered for that long; beyond, there is no hint
)

// A greeter tells people what to do in place of writing to us. Owned by the reader
// of the session.
type greeter struct {
	hinted map[message.JID]time.Time // when
}

// hint answers a message to our domain, if a person at a client has written it just
// now.
func (s *session) hint(e *stream.Element) {
	account, known := s.c.opts.account(e.Attr("from"))
	if len(s.c.desk.commands) == 0 || !known || !isChat(e, s.c.opts.Domain) || !s.c.greeter.may(account, time.Now()) {
		return
	}
	s.reply(appendHint(nil, e))
}

// isChat reports whether a message was written just now, by its sender, to us: it
// was neither kept (XEP-0203), nor is it a copy (XEP-0280) or forwarded (XEP-0297) or
// corrected (XEP-0308), nor our own words.
func isChat(e *stream.Element, domain string) bool {
	kind := e.Attr("type")
	if e.Attr("to") != domain || kind != "" && kind != "chat" && kind != "normal" || len(e.Attr("from")) > maxEcho {
		return false
	}
	text := strings.TrimSpace(bodyOf(e))
	return text != "" && !strings.Contains(text, hint) && !slices.ContainsFunc(e.Children, func(c *stream.Element) bool {
		return slices.Contains([]string{"urn:xmpp:delay", "jabber:x:delay", "urn:xmpp:carbons:2", "urn:xmpp:forward:0", "urn:xmpp:message-correct:0"}, c.Name.Space)
	})
}

// may reports whether it is time for a hint, and notes it.
func (g *greeter) may(account message.JID, now time.Time) bool {
	if now.Sub(g.hinted[account]) < hintPause {
		return false
	}
	if len(g.hinted) >= maxHinted {
		for old, when := range g.hinted {
			if now.Sub(when) >= hintPause {
				delete(g.hinted, old)
			}
		}
	}
	if len(g.hinted) >= maxHinted {
		return false
	}
	g.hinted[account] = now
	return true
}

func appendHint(dst []byte, e *stream.Element) []byte {
	dst = append(dst, "<message"...)
	dst = appendAttr(dst, "from", e.Attr("to"))
	dst = appendAttr(dst, "to", e.Attr("from"))
	dst = appendOptionalAttr(dst, "type", e.Attr("type"))
	dst = appendAttr(dst, "id", rand.Text())
	dst = append(dst, '>')
	dst = appendOptionalText(dst, "body", hint)
	return append(dst, "<no-store xmlns='urn:xmpp:hints'/></message>"...) // XEP-0334 §4.2
}
