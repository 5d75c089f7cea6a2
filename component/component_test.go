package component

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// up waits in a bubble until the component has connected, or has given up for
// now.
func up(t *testing.T, c *Component) {
	t.Helper()
	time.Sleep(2 * time.Second) // the bubble's time: longer than finding the voices takes
	if c.State() != Up {
		t.Fatalf("State() = %v, want up", c.State())
	}
}

func kindOf(err error) string {
	if err == nil {
		return "none"
	}
	return fmt.Sprint(int(fault.Of(err).Kind))
}

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.Of(err).Kind != want {
		t.Fatalf("error is %v of kind %s, want kind %d", err, kindOf(err), want)
	}
}

func TestDeliver(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*message.Message)
		want   message.Status
	}{
		{"chat", func(*message.Message) {}, message.Delivered},
		{"normal", func(m *message.Message) { m.Type = message.Normal }, message.Delivered},
		{"headline", func(m *message.Message) { m.Type = message.Headline }, message.Routed},
		{"full JID", func(m *message.Message) { m.To = "user@example.com/phone" }, message.Routed},
		{"another server", func(m *message.Message) { m.To = "user@elsewhere.example" }, message.Routed},
		{"a component of this server", func(m *message.Message) { m.To = "room@rooms.example.com" }, message.Routed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				c := s.start(t)
				up(t, c)
				m := text("user@example.com", "a1")
				test.change(m)
				status, err := c.Deliver(t.Context(), m)
				if status != test.want || err != nil {
					t.Fatalf("Deliver() = %q, %v; want %q", status, err, test.want)
				}
				got := s.received()
				if len(got) != 1 || got[0].Attr("from") != "me@example.com" || got[0].Attr("to") != string(m.To) || got[0].Attr("id") != "a1" || body(got[0]) != "text a1" {
					t.Fatalf("server got %+v", got)
				}
			})
		})
	}
}

// TestServerThatTellsNothing: silence means little where the server does not
// bounce what it cannot deliver.
func TestServerThatTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := (&server{mute: true}).start(t)
		up(t, c)
		if status, err := c.Deliver(t.Context(), text("user@example.com", "a1")); status != message.Routed || err != nil {
			t.Fatalf("Deliver() = %q, %v; want routed", status, err)
		}
	})
}

// TestServerThatSwallows: a server that drops what is sent in the name of others
// does not allow it, even if it keeps the stream.
func TestServerThatSwallows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := (&server{deaf: true}).start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Unavailable)
	})
}

func TestBounce(t *testing.T) {
	for _, test := range []struct {
		name, error string
		want        fault.Kind
		detail      string
	}{
		{"unknown account", `<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`, fault.Undeliverable, "(service-unavailable)"},
		{"with a text", `<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no
		way</text></error>`, fault.Forbidden, "(forbidden): no way"},
		{"a condition of the future", `<error type='wait'><tea-time xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`, fault.RemoteFailed, "(tea-time)"},
		{"no condition", `<error type='modify'/>`, fault.Unsendable, "(undefined-condition)"},
		{"no error at all", ``, fault.RemoteFailed, "(undefined-condition)"},
		{"the server writes the recipient in its own way", `<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`, fault.Undeliverable, "(gone)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{onMessage: func(_ int, p *peer, e *stream.Element) bool {
					return p.say(`<message from='USER@example.com' to='%s' id='%s' type='error'>%s</message>`, e.Attr("from"), e.Attr("id"), test.error)
				}}
				c := s.start(t)
				up(t, c)
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				wantKind(t, err, test.want)
				if public := fault.Of(err).Public; !strings.Contains(public, test.detail) || strings.Contains(public, "\n") {
					t.Fatalf("detail is %q, want one line with %q", public, test.detail)
				}
			})
		})
	}
}

// TestSameIDToSeveral: one request sends one id to several recipients, and an
// error is for the one it names.
func TestSameIDToSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := (&server{}).start(t)
		up(t, c)
		var wait sync.WaitGroup
		got := make(map[string]string)
		var mu sync.Mutex
		for _, to := range []message.JID{"ann@example.com", "ghost@example.com", "bob@example.com"} {
			wait.Go(func() {
				status, err := c.Deliver(t.Context(), text(to, "same"))
				mu.Lock()
				defer mu.Unlock()
				got[string(to)] = fmt.Sprint(status, " ", kindOf(err))
			})
		}
		wait.Wait()
		want := map[string]string{
			"ann@example.com": "delivered none", "bob@example.com": "delivered none",
			"ghost@example.com": fmt.Sprint(" ", int(fault.Undeliverable)),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestAmbiguousBounce: an error that names none of several recipients is
// nobody's, and nobody is taken for delivered.
func TestAmbiguousBounce(t *testing.T) {
	for _, test := range []struct {
		name, from string // of the error
		want       [2]string
	}{
		{"exactly", "user@example.com/b", [2]string{"routed none", fmt.Sprint(" ", int(fault.Undeliverable))}},
		{"by the bare address", "ann@example.com/B", [2]string{fmt.Sprint(" ", int(fault.Undeliverable)), "routed none"}},
		{"not at all", "USER@EXAMPLE.COM", [2]string{"routed none", "routed none"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				both := make(chan struct{}, 2)
				s := &server{onMessage: func(_ int, p *peer, e *stream.Element) bool {
					if both <- struct{}{}; len(both) < 2 {
						return true
					}
					return p.say(`<message from='%s' to='me@example.com' id='same' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`, test.from)
				}, onBarrier: func(_ int, p *peer, e *stream.Element) bool { return p.barriers > 1 && len(both) < 2 }}
				c := s.start(t)
				up(t, c)
				var wait sync.WaitGroup
				var got [2]string
				for i, to := range []message.JID{"ann@example.com", "user@example.com/b"} {
					wait.Go(func() {
						status, err := c.Deliver(t.Context(), text(to, "same"))
						got[i] = fmt.Sprint(status, " ", kindOf(err))
					})
				}
				wait.Wait()
				if test.name == "exactly" {
					test.want[0] = "delivered none" // the other one is not in doubt
				}
				if got != test.want {
					t.Errorf("outcomes are %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestDeepBounce: an error that carries our own message is not too deep.
func TestDeepBounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onMessage: func(_ int, p *peer, e *stream.Element) bool {
			return p.say(`<message from='user@example.com' to='me@example.com' id='a1' type='error'><x>%s%s</x><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
				strings.Repeat("<em>", 70), strings.Repeat("</em>", 70))
		}}
		c := s.start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Forbidden)
	})
}

// TestBatchBytes: one write keeps the server busy for a bounded time.
func TestBatchBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		largest := 0
		c := s.start(t, func(o *Options) {
			o.MaxStanza = MaxStanzaLimit
			dial := o.Dial
			o.Dial = func(ctx context.Context) (net.Conn, error) {
				conn, err := dial(ctx)
				return measured{conn, &largest}, err
			}
		})
		up(t, c)
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				m := text("user@example.com", fmt.Sprint(i))
				m.Subject = strings.Repeat("'", 40000)
				if _, err := c.Deliver(t.Context(), m); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if limit := batchBytes + 6*40000 + 1000; largest > limit {
			t.Errorf("a write of %d bytes, more than %d", largest, limit)
		}
	})
}

type measured struct {
	net.Conn
	largest *int
}

func (m measured) Write(p []byte) (int, error) {
	*m.largest = max(*m.largest, len(p))
	return m.Conn.Write(p)
}

// TestGone: when the stream does not come back, what was written is unknown,
// and what waits in the queue is said not to be sent.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current *peer
		s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return p.barriers > 1 }}
		s.connect = func(n int, p *peer) bool {
			current = p
			return n == 0
		}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		var mu sync.Mutex
		outcomes := make(map[fault.Kind]int)
		for i := range 11 { // batches of as many as the server has, until the window is full
			wait.Go(func() {
				_, err := c.Deliver(t.Context(), text("user@example.com", fmt.Sprint(i)))
				mu.Lock()
				defer mu.Unlock()
				outcomes[fault.Of(err).Kind]++
			})
			synctest.Wait()
		}
		began := time.Now()
		_ = current.conn.Close()
		wait.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("answered after %v", took)
		}
		if diff := cmp.Diff(map[fault.Kind]int{fault.Unconfirmed: 1 + 1 + 2 + 4, fault.Unavailable: 3}, outcomes); diff != "" {
			t.Error(diff)
		}
		nothingUnderway(t, c)
	})
}

func TestNotSent(t *testing.T) {
	never := func(int, *peer, *stream.Element) bool { return true }
	t.Run("too large", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &server{}
			c := s.start(t)
			up(t, c)
			m := text("user@example.com", "a1")
			m.Body = strings.Repeat("&", 3000)
			_, err := c.Deliver(t.Context(), m)
			wantKind(t, err, fault.TooLarge)
			if _, err := c.Deliver(t.Context(), text("user@example.com", "a2")); err != nil {
				t.Fatalf("the message after it: %v", err)
			}
			if got := s.received(); len(got) != 1 {
				t.Fatalf("server got %d messages, want the second alone", len(got))
			}
		})
	})
	t.Run("same key twice at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return p.barriers > 1 }}
			c := s.start(t)
			up(t, c)
			first := make(chan error, 1)
			go func() {
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				first <- err
			}()
			synctest.Wait()
			_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
			wantKind(t, err, fault.Conflict)
			wantKind(t, <-first, fault.Unconfirmed)
		})
	})
	t.Run("queue full", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &server{onMessage: never, onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return p.barriers > 1 }}
			c := s.start(t)
			up(t, c)
			var wait sync.WaitGroup
			refused := make(chan error, 2*queueLength)
			for i := range 2 * queueLength {
				wait.Go(func() {
					_, err := c.Deliver(t.Context(), text("user@example.com", fmt.Sprint(i)))
					if fault.Of(err).Kind == fault.Unavailable {
						refused <- err
					}
				})
			}
			wait.Wait()
			c.mu.Lock()
			if n := len(c.underway); n > window*batchMessages {
				t.Errorf("%d keys are still taken", n)
			}
			c.mu.Unlock()
			if len(refused) < queueLength-window*batchMessages-1 {
				t.Fatalf("%d of %d were told to try later", len(refused), 2*queueLength)
			}
		})
	})
	t.Run("nobody listens", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &server{connect: func(int, *peer) bool { return false }}
			c := s.start(t)
			time.Sleep(time.Minute)
			_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
			wantKind(t, err, fault.Unavailable)
			if n := s.dials(); n < 12 {
				t.Fatalf("%d attempts in a minute: it has to be there within seconds", n)
			}
		})
	})
	t.Run("the client leaves before it was written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			open := make(chan struct{})
			held := false
			s := &server{}
			s.onMessage = func(_ int, _ *peer, e *stream.Element) bool {
				if !held {
					held = true
					<-open
				}
				return false
			}
			c := s.start(t)
			up(t, c)
			first := make(chan error, 1)
			go func() {
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				first <- err
			}()
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := c.Deliver(ctx, text("user@example.com", "a2"))
			if kind := fault.Of(err).Kind; kind != fault.Unavailable && kind != fault.Unconfirmed {
				t.Fatalf("error is %v", err)
			}
			close(open)
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if n := len(s.received()); fault.Of(err).Kind == fault.Unavailable && n != 1 {
				t.Fatalf("server got %d messages, but one was said not to be sent", n)
			}
		})
	})
}

// TestStreamEnds: what is in flight when a connection ends without blame is
// unknown, and the next message goes over the next connection.
func TestStreamEnds(t *testing.T) {
	for _, condition := range []string{"", "system-shutdown", "reset", "internal-server-error", "connection-timeout"} {
		t.Run("with "+condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				s.onMessage = func(n int, p *peer, e *stream.Element) bool {
					if n > 0 {
						return false
					}
					if condition != "" {
						p.streamError(condition)
					}
					_ = p.conn.Close()
					return true
				}
				c := s.start(t)
				up(t, c)
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				wantKind(t, err, fault.Unconfirmed)
				if status, err := c.Deliver(t.Context(), text("user@example.com", "a2")); status != message.Delivered || err != nil {
					t.Fatalf("the next one: %q, %v", status, err)
				}
				if got := s.received(); len(got) != 1 || got[0].Attr("id") != "a2" {
					t.Fatalf("server got %d messages: the unconfirmed one was sent again", len(got))
				}
			})
		})
	}
}

// TestSilentServer: whatever the phase in which a server falls silent, it is
// given up in time.
func TestSilentServer(t *testing.T) {
	for all, patience := range map[time.Duration]time.Duration{30 * time.Second: 0, 8 * time.Second: 8 * time.Second} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprint(all, " busy: ", busy), func(t *testing.T) { silentServer(t, all, patience, busy) })
		}
	}
}

func silentServer(t *testing.T, all, patience time.Duration, busy bool) {
	forever := func(p *peer) { _, _ = p.conn.Read(make([]byte, 1)); p.hearAll() }
	for _, test := range []struct {
		name string
		set  func(*server)
	}{
		{"before the header", func(s *server) {
			s.connect = func(n int, p *peer) bool {
				if n == 0 {
					p.hearAll()
				}
				return n > 0
			}
		}},
		{"before the voices are found", func(s *server) {
			s.greet = func(n int, p *peer) {
				if n == 0 {
					forever(p)
				}
			}
		}},
		{"then", func(s *server) {
			s.onBarrier = func(n int, p *peer, _ *stream.Element) bool {
				if n == 0 && p.barriers > 1 {
					p.hearAll()
				}
				return false
			}
		}},
		{"but for one byte a second", func(s *server) {
			s.onBarrier = func(n int, p *peer, _ *stream.Element) bool {
				if n == 0 && p.barriers > 1 {
					go p.hearAll()
					for p.say(" ") {
						time.Sleep(time.Second)
					}
				}
				return false
			}
		}},
		{"but for questions", func(s *server) {
			s.onBarrier = func(n int, p *peer, e *stream.Element) bool {
				if n == 0 {
					go p.hearAll()
					p.say(`<iq type='get' from='post.example.com' to='post.example.com' id='%s'/>`, e.Attr("id"))
					for p.say(`<iq type='get' from='a@b/c' to='post.example.com' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`) {
						time.Sleep(time.Second)
					}
				}
				return n == 0
			}
		}},
		{"and does not read", func(s *server) {
			s.onBarrier = func(n int, p *peer, _ *stream.Element) bool {
				if n == 0 && p.barriers > 1 {
					<-s.stopped
				}
				return false
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(time.Second) }) // until the last byte has failed
				s := &server{}
				test.set(s)
				c := s.start(t, func(o *Options) { o.Patience = patience })
				for began := time.Now(); time.Since(began) < all+2*shortestWait; time.Sleep(shortestWait) { // before the next attempt
					if busy {
						_, _ = c.Submit(text("user@example.com", rand.Text()), func(message.Status, error) {})
					}
				}
				if s.dials() < 2 {
					t.Fatal("the connection is still held")
				}
			})
		})
	}
}

// TestKeepAlive: where nothing is said, a barrier goes out now and then.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var barriers atomic.Int64
		s := &server{onBarrier: func(int, *peer, *stream.Element) bool { barriers.Add(1); return false }}
		c := s.start(t)
		time.Sleep(10 * time.Minute)
		most := int64(10 * time.Minute / c.patience.keepAlive)
		if n := barriers.Load(); n > most || n < most/2 {
			t.Errorf("%d barriers, want %d at most", n, most)
		}
	})
}

// TestSlowServer: one that is behind but gets on is not taken for dead.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool {
			if p.barriers > 1 {
				time.Sleep(3 * time.Second)
			}
			return false
		}}
		c := s.start(t, func(o *Options) { o.Patience, o.ConfirmTimeout = 8*time.Second, time.Hour })
		up(t, c)
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() { wantDelivered(t, c, fmt.Sprint(i)) })
			time.Sleep(100 * time.Millisecond)
		}
		wait.Wait()
		if s.dials() != 1 {
			t.Errorf("%d connections", s.dials())
		}
		time.Sleep(3 * time.Second) // until the server has done with what it has
	})
}

// hearAll reads and says nothing until the connection ends.
func (p *peer) hearAll() {
	for buf := make([]byte, 1024); ; {
		if _, err := p.conn.Read(buf); err != nil {
			return
		}
	}
}

// TestOverdueBarrier: an answer that does not come in time is not known, and a
// later barrier answers for those before it.
func TestOverdueBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool {
			return p.barriers == 2 || p.barriers == 3 // the first is the session's own
		}}
		c := s.start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Unconfirmed)
		time.Sleep(3 * time.Second)
		if status, err := c.Deliver(t.Context(), text("user@example.com", "a1")); status != message.Delivered || err != nil {
			t.Fatalf("the same again: %q, %v", status, err)
		}
		if s.dials() != 1 {
			t.Fatalf("%d connections, want the first alone", s.dials())
		}
	})
}

func TestRefusedHandshake(t *testing.T) {
	for _, condition := range []string{"not-authorized", "host-unknown", "conflict"} {
		t.Run(condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{connect: func(_ int, p *peer) bool {
					p.reader = stream.NewReader(p.conn, stream.Limits{Size: 1000, Depth: 10})
					_, _ = p.reader.Open()
					p.say(`<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id=''>`)
					p.hear()
					p.streamError(condition)
					return false
				}}
				c := s.start(t)
				time.Sleep(time.Minute)
				if c.State() != Refused || c.Ready() || c.State().String() != "refused" {
					t.Fatalf("State() = %v, want refused", c.State())
				}
				if n := s.dials(); n < 2 || n > 7 {
					t.Fatalf("%d attempts in a minute, want a few", n)
				}
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				wantKind(t, err, fault.Unavailable)
				if hint := c.opts.Hint(&RefusedError{&StreamError{Condition: condition}}); !strings.Contains(hint, "post.example.com") {
					t.Fatalf("hint is %q", hint)
				}
			})
		})
	}
}

// TestReplacedAtOnce: the same before the first message could flow.
func TestReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{greet: func(_ int, p *peer) { p.streamError("conflict") }}
		c := s.start(t)
		time.Sleep(50 * time.Second)
		if s.dials() != 1 || c.State() != Refused {
			t.Fatalf("%d connections within a minute, %v", s.dials(), c.State())
		}
	})
}

func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onMessage: func(n int, p *peer, _ *stream.Element) bool {
			if n == 0 {
				p.streamError("conflict")
			}
			return n == 0
		}}
		c := s.start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Unconfirmed)
		time.Sleep(50 * time.Second)
		if s.dials() != 1 {
			t.Fatal("it threw the other one out within a minute")
		}
		if hint := c.opts.Hint(&StreamError{Condition: "conflict"}); !strings.Contains(hint, "post.example.com: run only one posthorn with this domain, or let all of them share a database") {
			t.Fatalf("hint is %q", hint)
		}
		time.Sleep(20 * time.Second)
		if s.dials() != 2 || c.State() != Up {
			t.Fatalf("after a minute: %d connections, %v", s.dials(), c.State())
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := false
		s := &server{ended: func(err error) { closed = err == io.EOF }}
		opts := s.options(t)
		c := New(opts)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		up(t, c)
		cancel()
		<-done
		synctest.Wait()
		if !closed {
			t.Error("the stream was cut, not closed")
		}
		if c.State() != Down {
			t.Errorf("State() = %v after the end", c.State())
		}
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Unavailable)
	})
}

// TestWindow: a server that is behind gets no more than it may have at once.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batches := 0
		s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool {
			batches = p.barriers - 1
			return p.barriers > 1
		}}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		for i := range 3 * window {
			wait.Go(func() { _, _ = c.Deliver(t.Context(), text("user@example.com", fmt.Sprint(i))) })
			synctest.Wait()
		}
		if batches != window {
			t.Errorf("%d batches are in flight, want %d", batches, window)
		}
		wait.Wait()
	})
}
