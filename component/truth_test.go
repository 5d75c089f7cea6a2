package component

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// TestTruth: on a server that does everything wrong that the tests beside this
// one try one by one, at random and under load, each answer is true. `make soak`
// tries more seeds.
func TestTruth(t *testing.T) {
	for seed := range uint64(10) {
		truth(t, seed)
	}
}

func truth(t *testing.T, seed uint64) {
	t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &faulty{rng: rand.New(rand.NewPCG(seed, 0)), handled: make(map[string]int)}
			s := &server{connect: f.connect, onMessage: f.onMessage, onBarrier: f.onBarrier}
			t.Cleanup(func() { time.Sleep(time.Minute) }) // what hangs has ended by then
			c := s.start(t)
			var wait sync.WaitGroup
			outcomes := make(map[fault.Kind]int)
			for client := range 16 {
				wait.Go(func() {
					for n := range 30 {
						id := fmt.Sprint(client, "/", n, f.fate())
						status, err := c.Deliver(t.Context(), text("user@example.com", id))
						f.check(t, id, status, err, outcomes)
						time.Sleep(f.roll(time.Second))
					}
				})
			}
			wait.Wait()
			time.Sleep(time.Minute)
			nothingUnderway(t, c)
			for _, id := range f.unsent {
				if n := f.handled[id]; n > 0 {
					t.Errorf("%s was said not to be sent, and the server took it %d times", id, n)
				}
			}
			t.Logf("%d connections; outcomes by kind, 0 being delivered: %v", s.dials(), outcomes)
		})
	})
}

// faulty is the script of a server with every fault. What becomes of a message
// itself stands in its id, so that it is the same whenever it is tried.
type faulty struct {
	mu      sync.Mutex
	rng     *rand.Rand
	handled map[string]int // by id: how often the server took in the message
	ended   int            // streams that it ended because of a message
	unsent  []string       // ids of messages that were said not to be sent
}

// fate ends an id.
func (f *faulty) fate() string {
	switch n := f.dice(200); {
	case n == 0:
		return "poison"
	case n < 30:
		return "bounce"
	}
	return ""
}

func (f *faulty) dice(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(n)
}

func (f *faulty) roll(longest time.Duration) time.Duration {
	return time.Duration(f.dice(int(longest)))
}

func (f *faulty) connect(int, *peer) bool { return f.dice(5) > 0 }

func (f *faulty) onMessage(_ int, p *peer, e *stream.Element) bool {
	id := e.Attr("id")
	fault := f.dice(200)
	if fault == 0 {
		_ = p.conn.Close()
		return true
	}
	f.mu.Lock()
	f.handled[id]++
	f.mu.Unlock()
	switch {
	case strings.HasSuffix(id, "poison"):
		f.mu.Lock()
		f.ended++
		f.mu.Unlock()
		p.streamError("not-well-formed")
	case fault == 1:
		_ = p.conn.Close()
	case fault == 2:
		p.streamError("system-shutdown")
	case strings.HasSuffix(id, "bounce"):
		for range 1 + f.dice(2) {
			p.say(goneError, "user@example.com", id)
		}
	}
	return true
}

func (f *faulty) onBarrier(_ int, p *peer, e *stream.Element) bool {
	const answer = "<iq type='%s' from='post.example.com' to='post.example.com' id='%s'/>"
	switch f.dice(30) {
	case 0: // never
	case 1:
		p.say(answer+answer, "result", e.Attr("id"), "result", e.Attr("id"))
	case 2:
		p.say(answer, "error", e.Attr("id"))
	case 3:
		p.say("<iq type='result' from='post.example.com' to='post.example.com' id='%s'", e.Attr("id"))
		_ = p.conn.Close()
	case 4:
		time.Sleep(f.roll(8 * time.Second))
		p.say(answer, "result", e.Attr("id"))
	case 5:
		p.say("%s", strange[f.dice(len(strange))])
		return false
	default:
		return e.Attr("type") != "get"
	}
	return true
}

// check holds an outcome against what the server knows.
func (f *faulty) check(t *testing.T, id string, status message.Status, err error, outcomes map[fault.Kind]int) {
	t.Helper()
	var kind fault.Kind
	if err != nil {
		kind = fault.Of(err).Kind
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	outcomes[kind]++
	n := f.handled[id]
	bounces, poison := strings.HasSuffix(id, "bounce"), strings.HasSuffix(id, "poison")
	// Only after an end that blames content is a message sent again.
	again := n > 1 && f.ended == 0
	ok := false
	switch kind {
	case 0:
		ok = status == message.Delivered && n > 0 && !bounces && !poison
	case fault.Undeliverable:
		ok = n > 0 && bounces
	case fault.Unavailable:
		ok, f.unsent = true, append(f.unsent, id)
	case fault.Rejected:
		ok = poison && n > 1
	case fault.Unconfirmed:
		ok = true
	}
	if !ok || again {
		t.Errorf("%s: %q, %v; the server took it %d times", id, status, err, n)
	}
}
