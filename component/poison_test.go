package component

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// TestPoison: a message that the server ends the stream for is found and
// dropped, and those beside it arrive.
func TestPoison(t *testing.T) {
	for _, condition := range []string{"not-well-formed", "policy-violation", "invalid-xml"} {
		t.Run(condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				s.onMessage = func(n int, p *peer, e *stream.Element) bool {
					if e.Attr("id") != "poison" {
						return false
					}
					p.streamError(condition)
					return true
				}
				c := s.start(t)
				up(t, c)
				var wait sync.WaitGroup
				for _, id := range []string{"a", "b", "poison", "c", "d"} {
					wait.Go(func() {
						status, err := c.Deliver(t.Context(), text("user@example.com", id))
						if id == "poison" {
							wantKind(t, err, fault.Rejected)
						} else if status != message.Delivered || err != nil {
							t.Errorf("%s: %q, %v", id, status, err)
						}
					})
				}
				wait.Wait()
				time.Sleep(time.Second)
				if s.dials() != 3 {
					t.Errorf("%d connections, want 3: the poison may end two", s.dials())
				}
				nothingUnderway(t, c)
			})
		})
	}
}

// TestPoisonAndGone: what was written is never said not to be sent, even when
// there is no second stream to try it on.
func TestPoisonAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{connect: func(n int, _ *peer) bool { return n == 0 }}
		s.onMessage = func(_ int, p *peer, _ *stream.Element) bool {
			p.streamError("not-well-formed")
			return true
		}
		c := s.start(t)
		up(t, c)
		_, err := c.Deliver(t.Context(), text("user@example.com", "a1"))
		wantKind(t, err, fault.Unconfirmed)
		time.Sleep(time.Minute) // more attempts, none of which may tell the outcome again
		nothingUnderway(t, c)
	})
}

// TestSuspectBounces: what becomes of one suspect does not make the others
// forgotten, even when the stream ends again.
func TestSuspectBounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.onMessage = func(n int, p *peer, e *stream.Element) bool {
			if n == 1 {
				p.say(`<message from='user@example.com' to='me@example.com' id='%s' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`, e.Attr("id"))
			}
			if n < 2 {
				p.streamError("policy-violation")
			}
			return n < 2
		}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		var mu sync.Mutex
		outcomes := make(map[string]int)
		for _, id := range []string{"a", "b", "c", "d"} {
			wait.Go(func() {
				status, err := c.Deliver(t.Context(), text("user@example.com", id))
				mu.Lock()
				defer mu.Unlock()
				outcomes[fmt.Sprint(status, kindOf(err))]++
			})
		}
		wait.Wait()
		if outcomes["delivered"+kindOf(nil)] != 3 || outcomes[fmt.Sprint(int(fault.Undeliverable))] != 1 {
			t.Errorf("outcomes are %v, want one bounce and three delivered", outcomes)
		}
		nothingUnderway(t, c)
	})
}

// TestPoisonDelaysNobody: one poisoned message after another costs the others
// no more than the streams it ends.
func TestPoisonDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onMessage: func(_ int, p *peer, e *stream.Element) bool {
			poisoned := strings.HasPrefix(e.Attr("id"), "poison")
			if poisoned {
				p.streamError("not-well-formed")
			}
			return poisoned
		}}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				_, err := c.Deliver(t.Context(), text("user@example.com", fmt.Sprint("poison", i)))
				if err == nil {
					t.Error("poison was delivered")
				}
			})
			wait.Go(func() {
				if _, err := c.Deliver(t.Context(), text("user@example.com", fmt.Sprint(i))); err != nil {
					t.Errorf("beside poison: %v", err)
				}
			})
		}
		wait.Wait()
		time.Sleep(time.Minute)
		nothingUnderway(t, c)
	})
}

func nothingUnderway(t *testing.T, c *Component) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.underway) != 0 {
		t.Errorf("%d messages are still under way", len(c.underway))
	}
}
