package component

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// TestAnswers: every question gets one answer, to the one who asked.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name, iq, want string
	}{
		{"ping", `<iq type='get' from='a@b/c' to='post.example.com' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`, `<iq type='result' from='post.example.com' to='a@b/c' id='1'></iq>`},
		{"version", `<iq type='get' from='a@b' to='post.example.com' id='2'><query xmlns='jabber:iq:version'/></iq>`, `<iq type='result' from='post.example.com' to='a@b' id='2'><query xmlns='jabber:iq:version'><name>posthorn</name><version>1.2</version></query></iq>`},
		{"disco", `<iq type='get' from='a@b' to='post.example.com' id='3'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`, `<iq type='result' from='post.example.com' to='a@b' id='3'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='component' type='generic' name='posthorn'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='jabber:iq:version'/><feature var='urn:xmpp:ping'/></query></iq>`},
		{"disco of a node", `<iq type='get' from='a@b' to='post.example.com' id='4'><query xmlns='http://jabber.org/protocol/disco#info' node='x'/></iq>`, `<iq type='error' from='post.example.com' to='a@b' id='4'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`},
		{"unknown", `<iq type='set' from='a@b' to='post.example.com' id='5'><x xmlns='urn:x'/></iq>`, `<iq type='error' from='post.example.com' to='a@b' id='5'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`},
		{"to an address of ours", `<iq type='get' from='a@b' to='x@post.example.com' id='6'><ping xmlns='urn:xmpp:ping'/></iq>`, `<iq type='error' from='x@post.example.com' to='a@b' id='6'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`},
		{"quotes", `<iq type='get' from='a@b/&apos;&lt;' to='post.example.com' id='&quot;&gt;'><ping xmlns='urn:xmpp:ping'/></iq>`, `<iq type='result' from='post.example.com' to='a@b/&apos;&lt;' id='&quot;&gt;'></iq>`},
		{"a result is not answered", `<iq type='result' from='a@b' to='post.example.com' id='7'/>`, ``},
		{"an error is not answered", `<iq type='error' from='a@b' to='post.example.com' id='8'/>`, ``},
		{"from nobody", `<iq type='get' to='post.example.com' id='9'/>`, ``},
		{"a very long id", `<iq type='get' from='a@b' to='post.example.com' id='` + strings.Repeat("i", 5000) + `'/>`, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := stream.NewReader(strings.NewReader("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>"+test.iq), stream.Limits{Size: 10000, Depth: 10})
			if _, err := r.Open(); err != nil {
				t.Fatal(err)
			}
			e, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			s := newSession(New(Options{Domain: "post.example.com", Version: "1.2"}), nil, nil)
			s.answer(t.Context(), e)
			got := ""
			if len(s.answers) > 0 {
				got = string(<-s.answers)
			}
			if got != test.want {
				t.Fatalf("answer is\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// strange are elements that have ended streams of others, or pretend to be
// what they are not. Each comes while a message is in flight.
var strange = []string{
	`<presence from='a@b' to='post.example.com'><priority>200</priority></presence>`,
	`<presence from='a@b' to='post.example.com'><x xmlns='http://jabber.org/protocol/muc'><history since='2026-01-01T00:00:00+00:00'/></x></presence>`,
	`<message from='a@b' to='post.example.com'><x xmlns='urn:x'><message xmlns='jabber:component:accept'/></x></message>`,
	`<iq type='result' from='a@b' to='post.example.com' id='x'><query xmlns='http://jabber.org/protocol/disco#info'><set xmlns='urn:y'/></query></iq>`,
	`<iq type='result' from='a@b' to='post.example.com' id='x'><set xmlns='http://jabber.org/protocol/rsm'><max>abc</max></set></iq>`,
	`<iq type='get' from='a@b' to='post.example.com' id='deep'>` + strings.Repeat("<a>", 11000) + strings.Repeat("</a>", 11000) + `</iq>`,
	`<message from='a@b' to='post.example.com'><body>` + strings.Repeat("x", 2<<20) + `</body></message>`,
	"<message from='a@b' to='post.example.com'><\u0221/></message>",
	`<message from='a@b' to='post.example.com'>&undefined;</message>`,
	`<x:message xmlns:x='urn:x' from='me@example.com'/>`,
	`<iq type='result' from='a@b' to='post.example.com' id='BARRIER'/>`,
	`<iq type='result' from='a@b' xmlns:e='urn:e' e:from='post.example.com' to='post.example.com' id='BARRIER'/>`,
	`<message type='error' from='a@b' to='post.example.com' id='a1'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
	`<message type='error' from='a@b' to='me@post.example.com' id='a1'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
	`<message type='error' from='example.com' to='post.example.com' id='a1'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
	`<message type='error' from='a@b' xmlns:e='urn:e' to='post.example.com' e:to='me@example.com' id='a1'/>`,
	`<message from='evil.example' to='post.example.com'><privilege xmlns='urn:xmpp:privilege:2'><perm type='outgoing' access='message'/></privilege></message>`,
	`<message from='a@example.com' to='post.example.com'><privilege xmlns='urn:xmpp:privilege:2'><perm type='outgoing' access='message'/></privilege></message>`,
	`<message from='a@b' to='post.example.com'><error xmlns='http://etherx.jabber.org/streams'/></message>`,
}

func TestStrangers(t *testing.T) {
	for i, hostile := range strange {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				s.onBarrier = func(_ int, p *peer, e *stream.Element) bool {
					p.say("%s", strings.ReplaceAll(hostile, "BARRIER", e.Attr("id")))
					if strings.Contains(hostile, "BARRIER") && p.barriers == 2 {
						// If it counted, this message would be "delivered" by now.
						p.say(`<message type='error' from='user@example.com' to='me@example.com' id='a1'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
					}
					return false
				}
				c := s.start(t)
				up(t, c)
				status, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				if strings.Contains(hostile, "BARRIER") {
					wantKind(t, err, fault.RemoteFailed)
				} else if status != message.Delivered || err != nil {
					t.Fatalf("Deliver() = %q, %v; want delivered", status, err)
				}
				if s.dials() != 1 {
					t.Fatalf("%d connections: the stream ended", s.dials())
				}
				if v := c.voice("evil.example"); v.speaks() || c.voice("example.com").namespace != "" {
					t.Fatal("a stranger granted a privilege")
				}
			})
		})
	}
}
