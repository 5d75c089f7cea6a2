package component

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// grant makes the hosts advertise the privilege right after the handshake.
func grant(namespace string, hosts ...string) func(int, *peer) {
	return func(_ int, p *peer) {
		for _, host := range hosts {
			p.say(`<message from='%s' to='post.example.com'><privilege xmlns='%s'><perm type='outgoing' access='message'/></privilege></message>`, host, namespace)
		}
	}
}

func TestVoices(t *testing.T) {
	const two, one = "urn:xmpp:privilege:2", "urn:xmpp:privilege:1"
	for _, test := range []struct {
		name   string
		mode   Mode
		server *server
		want   string // of example.com and other.example
		dials  int
	}{
		{"auto, not checked", Auto, &server{}, "direct direct", 1},
		{"auto, not checked and granted", Auto, &server{greet: grant(two, "example.com")}, "direct direct", 1},
		{"auto, checked", Auto, &server{checkFrom: true}, "refused refused", 3},
		{"auto, checked and granted", Auto, &server{checkFrom: true, greet: grant(two, "example.com", "other.example")}, "privilege privilege", 3},
		{"auto, one granted", Auto, &server{checkFrom: true, greet: grant(one, "other.example")}, "refused privilege", 3},
		{"direct, granted only", Direct, &server{checkFrom: true, greet: grant(two, "example.com")}, "refused refused", 3},
		{"privilege, not checked", Privilege, &server{greet: grant(two, "example.com")}, "privilege refused", 1},
		{"a namespace of the future", Privilege, &server{greet: grant("urn:xmpp:privilege:3", "example.com")}, "refused refused", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := test.server
				c := s.start(t, func(o *Options) {
					o.Mode, o.Hosts = test.mode, []string{"example.com", "other.example"}
				})
				up(t, c)
				if got := fmt.Sprint(c.voice("example.com"), c.voice("other.example")); got != test.want {
					t.Errorf("voices are %q, want %q", got, test.want)
				}
				if s.dials() != test.dials {
					t.Errorf("%d connections, want %d", s.dials(), test.dials)
				}
				if got, want := c.muteWhileUp(), strings.Count(test.want, "refused"); got != want {
					t.Errorf("%d hosts are mute, want %d", got, want)
				}
				if want := test.want != "refused refused"; c.Ready() != want {
					t.Errorf("Ready() = %v, want %v", c.Ready(), want)
				}
			})
		})
	}
}

func TestWrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{checkFrom: true, greet: grant("urn:xmpp:privilege:1", "example.com")}
		refuse := false
		s.onMessage = func(_ int, p *peer, e *stream.Element) bool {
			if refuse {
				p.say(`<message from='example.com' to='post.example.com' id='%s' type='error'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`, e.Attr("id"))
			}
			return refuse
		}
		c := s.start(t)
		up(t, c)
		if status, err := c.Deliver(t.Context(), text("user@example.com", "a1")); status != message.Routed || err != nil {
			t.Fatalf("Deliver() = %q, %v; want routed", status, err)
		}
		outer := s.received()[0]
		inner := outer.Child("urn:xmpp:privilege:1", "privilege").Child("urn:xmpp:forward:0", "forwarded").Child("jabber:client", "message")
		if inner == nil || inner.Attr("from") != "me@example.com" || inner.Attr("to") != "user@example.com" || inner.Attr("id") != "a1" || body(inner) != "text a1" {
			t.Fatalf("inside is %+v", inner)
		}
		if outer.Attr("from") != "post.example.com" || outer.Attr("to") != "example.com" || outer.Attr("id") == "a1" {
			t.Fatalf("the wrapper is %+v", outer.Attrs)
		}
		refuse = true
		_, err := c.Deliver(t.Context(), text("user@example.com", "a2"))
		wantKind(t, err, fault.Forbidden)
	})
}

// TestGrantWithdrawn: a host may take back what it granted.
func TestGrantWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{greet: grant("urn:xmpp:privilege:2", "example.com")}
		s.onMessage = func(_ int, p *peer, _ *stream.Element) bool {
			return p.say(`<message from='example.com' to='post.example.com'><privilege xmlns='urn:xmpp:privilege:2'><perm type='none' access='message'/></privilege></message>`)
		}
		c := s.start(t, func(o *Options) { o.Mode = Privilege })
		up(t, c)
		if _, err := c.Deliver(t.Context(), text("user@example.com", "a1")); err != nil {
			t.Fatal(err)
		}
		_, err := c.Deliver(t.Context(), text("user@example.com", "a2"))
		wantKind(t, err, fault.Unavailable)
	})
}

// TestMuteHost: a host that the server does not let us speak for answers by
// itself alone.
func TestMuteHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{checkFrom: true, greet: grant("urn:xmpp:privilege:2", "example.com")}
		c := s.start(t, func(o *Options) { o.Hosts = []string{"example.com", "other.example"} })
		up(t, c)
		m := text("user@example.com", "a1")
		m.From = "admin@other.example"
		_, err := c.Deliver(t.Context(), m)
		wantKind(t, err, fault.Unavailable)
		if public := fault.Of(err).Public; !strings.Contains(public, "other.example") {
			t.Fatalf("detail is %q", public)
		}
		if _, err := c.Deliver(t.Context(), text("user@example.com", "a2")); err != nil {
			t.Fatal(err)
		}
		if n := len(s.received()); n != 1 {
			t.Fatalf("server got %d messages, want 1", n)
		}
	})
}

// TestAsksAgain: with nobody to speak for, a change of the server's
// configuration is noticed by itself.
func TestAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{connect: func(n int, p *peer) bool { p.checkFrom = n < 2; return true }}
		c := s.start(t)
		up(t, c)
		if c.Ready() {
			t.Fatal("ready before the change")
		}
		time.Sleep(askAgain + 5*time.Second)
		if !c.Ready() {
			t.Fatal("not ready after the change")
		}
	})
}

// TestFixedServer: a server that comes back with another configuration is asked
// again about the hosts that were mute.
func TestFixedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{greet: grant("urn:xmpp:privilege:2", "example.com")}
		var current *peer
		s.connect = func(n int, p *peer) bool {
			p.checkFrom, current = n < 3, p
			return true
		}
		c := s.start(t, func(o *Options) { o.Hosts = []string{"example.com", "other.example"} })
		up(t, c)
		if c.voice("other.example").speaks() {
			t.Fatal("other.example speaks before the change")
		}
		_ = current.conn.Close()
		time.Sleep(5 * time.Second)
		if v := c.voice("other.example"); !v.direct {
			t.Fatalf("other.example is %v after the change", v)
		}
	})
}

// TestAskedAgainAfterAWhile: the verdict about direct mode is not for ever.
func TestAskedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{greet: grant("urn:xmpp:privilege:2", "example.com")}
		var current *peer
		s.connect = func(n int, p *peer) bool {
			p.checkFrom, current = n < 1, p
			return true
		}
		c := s.start(t)
		up(t, c)
		for _, wait := range []time.Duration{time.Minute, retryDirectAfter} {
			before := c.voice("example.com").direct
			time.Sleep(wait)
			_ = current.conn.Close()
			time.Sleep(5 * time.Second)
			if got := c.voice("example.com").direct; before || got != (wait == retryDirectAfter) {
				t.Fatalf("after %v more: direct is %v, was %v", wait, got, before)
			}
		}
	})
}

// TestAnswerChanges: what one stream allowed says nothing about the next.
func TestAnswerChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.connect = func(n int, p *peer) bool { p.checkFrom = n > 0; return true }
		s.onMessage = func(n int, p *peer, _ *stream.Element) bool { return n == 0 && p.conn.Close() == nil }
		c := s.start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Unconfirmed)
		time.Sleep(5 * time.Second)
		_, err = c.Deliver(t.Context(), text("user@example.com", "a2"))
		wantKind(t, err, fault.Unavailable)
		if s.dials() != 3 {
			t.Fatalf("%d connections, want 3: the second ends with the question, the third knows", s.dials())
		}
	})
}

// TestVerdictIsRemembered: a host that refused is not asked on each new
// connection, which the question would end.
func TestVerdictIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{checkFrom: true, greet: grant("urn:xmpp:privilege:2", "example.com")}
		s.onMessage = func(_ int, p *peer, e *stream.Element) bool {
			if e.Attr("id") != "" {
				_ = p.conn.Close()
			}
			return true
		}
		c := s.start(t)
		up(t, c)
		for range 3 {
			_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
			wantKind(t, err, fault.Unconfirmed)
			time.Sleep(10 * time.Second)
		}
		if s.dials() != 2+3 {
			t.Fatalf("%d connections, want 5: one question, and one for each that was cut", s.dials())
		}
	})
}
