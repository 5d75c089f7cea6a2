package component

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// streamErrors are the conditions of RFC 6120 §4.9.3, in its order, and whether
// what was written may be to blame.
var streamErrors = []struct {
	condition string
	blames    bool
}{
	{"bad-format", true}, {"bad-namespace-prefix", true}, {"conflict", false}, {"connection-timeout", false},
	{"host-gone", false}, {"host-unknown", false}, {"improper-addressing", true}, {"internal-server-error", false},
	{"invalid-from", true}, {"invalid-namespace", true}, {"invalid-xml", true}, {"not-authorized", false},
	{"not-well-formed", true}, {"policy-violation", true}, {"remote-connection-failed", false}, {"reset", false},
	{"resource-constraint", false}, {"restricted-xml", true}, {"see-other-host", false}, {"system-shutdown", false},
	{"undefined-condition", true}, {"unsupported-encoding", true}, {"unsupported-feature", false},
	{"unsupported-stanza-type", true}, {"unsupported-version", false},
	{"a-condition-of-the-future", false},
}

// TestEveryStreamError: a message is rejected only after it has ended two
// streams with an error that blames content. Otherwise nobody knows, and it is
// not sent again.
func TestEveryStreamError(t *testing.T) {
	for _, test := range streamErrors {
		t.Run(test.condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				written := 0
				s := &server{onMessage: func(_ int, p *peer, e *stream.Element) bool {
					if e.Attr("id") != "m" {
						return false
					}
					written++
					p.streamError(test.condition)
					return true
				}}
				c := s.start(t)
				up(t, c)
				_, err := c.Deliver(t.Context(), text("user@example.com", "m"))
				want, wantWritten := fault.Unconfirmed, 1
				if test.blames {
					want, wantWritten = fault.Rejected, 2
				}
				wantKind(t, err, want)
				time.Sleep(2 * time.Minute)
				if written != wantWritten {
					t.Errorf("written %d times, want %d", written, wantWritten)
				}
				wantDelivered(t, c, "next")
				nothingUnderway(t, c)
			})
		})
	}
}

func wantDelivered(t *testing.T, c *Component, id string) {
	t.Helper()
	if status, err := c.Deliver(t.Context(), text("user@example.com", id)); status != message.Delivered || err != nil {
		t.Errorf("Deliver(%s) = %q, %v; want delivered", id, status, err)
	}
}

// TestHandshakeErrors: only what stays until somebody changes a configuration
// is a refusal; whatever else a server says is tried again soon.
func TestHandshakeErrors(t *testing.T) {
	for _, test := range streamErrors {
		t.Run(test.condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{connect: func(n int, p *peer) bool {
					if n == 0 {
						p.reader = stream.NewReader(p.conn, stream.Limits{Size: 1000, Depth: 10})
						_, _ = p.reader.Open()
						p.say(`<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s1'>`)
						p.hear()
						p.streamError(test.condition)
					}
					return n > 0
				}}
				c := s.start(t)
				time.Sleep(5 * time.Second)
				refused := test.condition == "not-authorized" || test.condition == "host-unknown" || test.condition == "conflict"
				if got := c.State(); refused && got != Refused || !refused && got != Up {
					t.Errorf("State() = %v", got)
				}
			})
		})
	}
}

// TestOddHandshake: a peer that is no XMPP server, or a broken one, is tried
// again and costs nothing.
func TestOddHandshake(t *testing.T) {
	const header = `<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='s1'>`
	for _, test := range []struct{ name, says string }{
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n<html><body>"},
		{"another protocol in XML", "<html xmlns='http://www.w3.org/1999/xhtml'>"},
		{"a document type", "<!DOCTYPE x>"},
		{"a huge header", header[:len(header)-1] + " from='" + strings.Repeat("x", readSize) + "'>"},
		{"a header of many attributes", "<stream:stream " + strings.Repeat("a='' ", readSize/5) + ">"},
		{"the end", header + "</stream:stream>"},
		{"a stanza in place of the handshake", header + "<message><handshake/></message>"},
		{"a huge handshake", header + "<handshake>" + strings.Repeat("x", readSize) + "</handshake>"},
		{"an error without a condition", header + "<stream:error/>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{connect: func(n int, p *peer) bool {
					if n == 0 {
						go p.hearAll()
						p.say("%s", test.says)
					}
					return n > 0
				}}
				c := s.start(t)
				time.Sleep(20 * time.Second) // the handshake's time, and the wait after it
				if s.dials() != 2 {
					t.Errorf("%d connections", s.dials())
				}
				wantDelivered(t, c, "after")
			})
		})
	}
}

// A slowConn writes one byte at a time.
type slowConn struct {
	net.Conn
	pause time.Duration
}

func (c slowConn) Write(p []byte) (int, error) {
	for i := range p {
		time.Sleep(c.pause)
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestDribble: a server that says everything byte by byte is understood where
// it says it in time, and given up where not.
func TestDribble(t *testing.T) {
	for _, test := range []struct {
		pause time.Duration
		want  State
	}{
		{5 * time.Millisecond, Up},
		{time.Second, Down},
	} {
		t.Run(test.pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(2 * test.pause) }) // until the last byte has failed
				s := &server{connect: func(_ int, p *peer) bool {
					p.conn = slowConn{p.conn, test.pause}
					return true
				}}
				c := s.start(t)
				time.Sleep(40 * time.Second)
				if c.State() != test.want {
					t.Fatalf("State() = %v, want %v", c.State(), test.want)
				}
				if test.want == Up {
					wantDelivered(t, c, "a1")
				} else if s.dials() < 3 {
					t.Errorf("%d connections in 40 s", s.dials())
				}
			})
		})
	}
}

// TestSlowReader: a server that reads a byte a second is found out, and what
// it did not take in time is not called sent or unsent.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onBarrier: func(n int, p *peer, _ *stream.Element) bool {
			for n == 0 && p.barriers > 1 {
				if _, err := p.conn.Read(make([]byte, 1)); err != nil {
					break
				}
				time.Sleep(time.Second)
			}
			return false
		}}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		for i := range 5 { // more than the server's kernel, here the first read, takes
			wait.Go(func() {
				_, err := c.Deliver(t.Context(), text("user@example.com", fmt.Sprint(i)))
				if kind := fault.Of(err).Kind; kind != fault.Unconfirmed && kind != fault.Unavailable {
					t.Errorf("%d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		wait.Wait()
		time.Sleep(30 * time.Second)
		if s.dials() != 2 {
			t.Errorf("%d connections within 30 s, want a second one", s.dials())
		}
		wantDelivered(t, c, "after")
	})
}

// TestCutInElement: half an element says nothing, however clear it is.
func TestCutInElement(t *testing.T) {
	for _, half := range []string{
		`<`,
		`<iq type='result' from='post.example.com' to='post.example.com' id='BARRIER'`,
		`<iq type='result' from='post.example.com' to='post.example.com' id='BARRIER'/`,
		`<iq type='result' from='post.example.com' to='post.example.com' id='BARRIER'><ping xmlns='urn:xmpp:ping'/></iq`,
		`<message type='error' from='user@example.com' to='me@example.com' id='a1'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`,
		`<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>`,
		`<!-- `,
		`</stream:stream`,
		`</stream:stream><iq type='result' from='post.example.com' to='post.example.com' id='BARRIER'/>`,
	} {
		t.Run(half, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{onBarrier: func(n int, p *peer, e *stream.Element) bool {
					if n > 0 || p.barriers == 1 {
						return false
					}
					p.say("%s", strings.ReplaceAll(half, "BARRIER", e.Attr("id")))
					_ = p.conn.Close()
					return true
				}}
				c := s.start(t)
				up(t, c)
				_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
				wantKind(t, err, fault.Unconfirmed)
				wantDelivered(t, c, "a2")
				if got := s.received(); len(got) != 2 {
					t.Errorf("server got %d messages, want each once", len(got))
				}
			})
		})
	}
}

const goneError = `<message type='error' from='%s' to='me@example.com' id='%s'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`

// TestCloseInBatch: of a batch of which the server has read a part, what
// bounced has bounced, and the rest is unknown, not unsent.
func TestCloseInBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batched = 10
		gate := make(chan struct{})
		read, closed := 0, false
		s := &server{onMessage: func(n int, p *peer, e *stream.Element) bool {
			switch id := e.Attr("id"); {
			case n > 0:
			case id == "held":
				<-gate
			case id == "b3", id == "b4":
				return p.say(goneError, e.Attr("to"), id)
			case id == "b7":
				closed = true
				_ = p.conn.Close() // with a part of what follows in the peer's buffer, and a part not written
			case strings.HasPrefix(id, "b") && !closed:
				read++
			}
			return closed
		}}
		c := s.start(t)
		up(t, c)
		outcomes := make([]string, batched)
		var wait sync.WaitGroup
		deliver := func(id string) *fault.Error {
			m := text("user@example.com", id)
			m.Thread = strings.Repeat("x", 1000)
			if _, err := c.Deliver(t.Context(), m); err != nil {
				return fault.Of(err)
			}
			return nil
		}
		for _, id := range []string{"held", "next"} { // the writer is stuck in the second write until the gate opens
			wait.Go(func() {
				if err := deliver(id); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			})
			synctest.Wait()
		}
		for i := range batched {
			wait.Go(func() {
				outcomes[i] = "delivered"
				if err := deliver(fmt.Sprint("b", i)); err != nil {
					outcomes[i] = fmt.Sprint(int(err.Kind))
				}
			})
			synctest.Wait()
		}
		close(gate)
		wait.Wait()
		for i, got := range outcomes {
			want := fault.Unconfirmed
			if i == 3 || i == 4 {
				want = fault.Undeliverable
			}
			if got != fmt.Sprint(int(want)) {
				t.Errorf("b%d: %s, want %d", i, got, want)
			}
		}
		wantDelivered(t, c, "after")
		if read != 5 {
			t.Errorf("the server took %d of the batch, want 5", read)
		}
		nothingUnderway(t, c)
	})
}

// TestBarriers: what comes before the barrier's own answer and is none must
// not count for it. So the error that follows is heard.
func TestBarriers(t *testing.T) {
	const own = "from='post.example.com' to='post.example.com'"
	for _, test := range []struct {
		name, says string
		counts     bool
	}{
		{"an earlier one again", "<iq type='result' " + own + " id='EARLIER'/>", false},
		{"an earlier one again and again", strings.Repeat("<iq type='result' "+own+" id='EARLIER'/>", 100), false},
		{"another id", "<iq type='result' " + own + " id='BARRIERx'/>", false},
		{"no id", "<iq type='result' " + own + "/>", false},
		{"from somebody at the component", "<iq type='result' from='x@post.example.com' to='post.example.com' id='BARRIER'/>", false},
		{"from a resource", "<iq type='result' from='post.example.com/x' to='post.example.com' id='BARRIER'/>", false},
		{"to somebody at the component", "<iq type='result' from='post.example.com' to='x@post.example.com' id='BARRIER'/>", false},
		{"from the server", "<iq type='result' from='example.com' to='post.example.com' id='BARRIER'/>", false},
		{"from nobody", "<iq type='result' to='post.example.com' id='BARRIER'/>", false},
		{"a message", "<message " + own + " id='BARRIER'/>", false},
		{"in another namespace", "<iq xmlns='jabber:client' type='result' " + own + " id='BARRIER'/>", false},
		{"inside another stanza", "<message from='a@b' to='post.example.com'><iq type='result' " + own + " id='BARRIER'/></message>", false},
		{"result", "<iq type='result' " + own + " id='BARRIER'/>", true},
		{"error", "<iq type='error' " + own + " id='BARRIER'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", true},
		{"result, and again", strings.Repeat("<iq type='result' "+own+" id='BARRIER'/>", 2), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				earlier := ""
				s := &server{onBarrier: func(_ int, p *peer, e *stream.Element) bool {
					if p.barriers == 3 {
						p.say("%s", strings.NewReplacer("BARRIER", e.Attr("id"), "EARLIER", earlier).Replace(test.says))
						p.say(goneError, "user@example.com", "a2")
					}
					earlier = e.Attr("id")
					return false
				}}
				c := s.start(t)
				up(t, c)
				wantDelivered(t, c, "a1")
				_, err := c.Deliver(t.Context(), text("user@example.com", "a2"))
				if test.counts && err != nil {
					t.Errorf("not confirmed: %v", err)
				} else if !test.counts {
					wantKind(t, err, fault.Undeliverable)
				}
				wantDelivered(t, c, "a3")
				if s.dials() != 1 {
					t.Errorf("%d connections", s.dials())
				}
			})
		})
	}
}

// TestBarriersOutOfOrder: a barrier answers for those before it, and the
// answers that come after it change nothing.
func TestBarriersOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held []string
		s := &server{onBarrier: func(_ int, p *peer, e *stream.Element) bool {
			if p.barriers < 2 || p.barriers > 4 {
				return false
			}
			held = append(held, e.Attr("id"))
			for _, i := range []int{1, 0, 2, 1, 0} {
				if len(held) == 3 {
					p.say("<iq type='result' from='post.example.com' to='post.example.com' id='%s'/>", held[i])
				}
			}
			return true
		}}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		for _, id := range []string{"a1", "a2", "a3", "a4"} { // two go into the third batch
			wait.Go(func() { wantDelivered(t, c, id) })
			synctest.Wait()
		}
		wait.Wait()
		wantDelivered(t, c, "a5")
	})
}

// TestLostBarrier: while one is missing, what comes is not held back for company,
// and its barrier answers for both.
func TestLostBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return p.barriers == 2 || p.barriers == 3 }}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		for _, id := range []string{"a1", "a2", "a3"} {
			wait.Go(func() { wantDelivered(t, c, id) })
			synctest.Wait()
		}
		began := time.Now()
		wait.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("held back for %v", took)
		}
	})
}

// TestStrayErrors: an error counts once, and for the message that it is about.
func TestStrayErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		says [][2]string // before the barrier after "same": from and id of errors
		to   [2]message.JID
		want [2]string
	}{
		{"for nothing in flight", [][2]string{{"user@example.com", "never"}}, [2]message.JID{"ann@example.com", "bob@example.com"}, [2]string{"delivered none", "delivered none"}},
		{"for one that is confirmed", [][2]string{{"user@example.com", "before"}}, [2]message.JID{"ann@example.com", "bob@example.com"}, [2]string{"delivered none", "delivered none"}},
		{"twice", [][2]string{{"ann@example.com", "same"}, {"ann@example.com", "same"}}, [2]message.JID{"ann@example.com", "bob@example.com"}, [2]string{fmt.Sprint(" ", int(fault.Undeliverable)), "delivered none"}},
		{"twice, by its bare address", [][2]string{{"ann@example.com", "same"}, {"ann@example.com", "same"}}, [2]message.JID{"ann@example.com/x", "bob@example.com"}, [2]string{fmt.Sprint(" ", int(fault.Undeliverable)), "delivered none"}},
		{"twice, and the other's", [][2]string{{"ann@example.com", "same"}, {"ann@example.com", "same"}, {"bob@example.com", "same"}}, [2]message.JID{"ann@example.com", "bob@example.com"}, [2]string{fmt.Sprint(" ", int(fault.Undeliverable)), fmt.Sprint(" ", int(fault.Undeliverable))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				arrived := 0
				s := &server{
					onMessage: func(_ int, p *peer, e *stream.Element) bool {
						if e.Attr("id") != "same" {
							return false
						}
						if arrived++; arrived == 2 {
							for _, said := range test.says {
								p.say(goneError, said[0], said[1])
							}
						}
						return true
					},
					onBarrier: func(_ int, p *peer, _ *stream.Element) bool { return arrived == 1 },
				}
				c := s.start(t)
				up(t, c)
				wantDelivered(t, c, "before")
				var wait sync.WaitGroup
				var got [2]string
				for i, to := range test.to {
					wait.Go(func() {
						status, err := c.Deliver(t.Context(), text(to, "same"))
						got[i] = fmt.Sprint(status, " ", kindOf(err))
					})
					synctest.Wait()
				}
				wait.Wait()
				for i := range got {
					if want := test.want[i]; got[i] != want && !(got[i] == "routed none" && strings.Contains(test.to[i].String(), "/")) {
						t.Errorf("%s: %q, want %q", test.to[i], got[i], want)
					}
				}
				wantDelivered(t, c, "after")
				if s.dials() != 1 {
					t.Errorf("%d connections", s.dials())
				}
			})
		})
	}
}
