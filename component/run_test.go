package component

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/stream"
)

// run gives Run a goroutine until stop.
func (c *Component) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// A relay is a component that is run and ended again and again, and what it works with.
type relay struct {
	*Component
	server *server
	room   *muc
	sold   *shop
	away   atomic.Bool // the server takes no connection
	silent atomic.Bool // it returns no barriers

	mu      sync.Mutex
	current *peer
	answers map[int]int // by connection
}

func newRelay(t *testing.T) *relay {
	r := &relay{room: &muc{}, sold: &shop{}, answers: make(map[int]int)}
	r.room.onPresence = func(_ *peer, e *stream.Element) bool {
		return message.JID(e.Attr("to")).Bare() == "slow@rooms.example.com"
	}
	r.server = r.room.server()
	toRoom := r.server.onMessage
	r.server.onMessage = func(n int, p *peer, e *stream.Element) bool { return e.Attr("type") == "groupchat" && toRoom(n, p, e) }
	r.server.connect = func(int, *peer) bool { return !r.away.Load() }
	r.server.onBarrier = func(int, *peer, *stream.Element) bool { return r.silent.Load() }
	r.server.onInquiry = (&services{items: hostItems, info: uploadInfo}).inquiry
	r.server.greet = func(_ int, p *peer) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.current = p
	}
	r.server.onAnswer = func(*stream.Element) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.answers[r.server.dials()]++
	}
	opts := r.server.options(t)
	opts.Commands = r.sold.commands()
	r.Component = New(opts)
	return r
}

// works uses all that there is to use.
func (r *relay) works(t *testing.T) {
	t.Helper()
	up(t, r.Component)
	wantDelivered(t, r.Component, "a")
	for _, id := range []string{"b", "c"} {
		if status, err := r.Deliver(t.Context(), toOps(id)); status != message.Delivered {
			t.Errorf("to a room: %q, %v", status, err)
		}
	}
	if limit, err := r.UploadLimit(t.Context(), "me@example.com"); limit != 10485760 {
		t.Errorf("%d, %v", limit, err)
	}
	r.sold.delay = 0
	r.command()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(map[int]int{r.server.dials(): 1}, r.answers); diff != "" || len(r.sold.take()) != 1 {
		t.Errorf("answers to one command, by connection: %s", diff)
	}
	clear(r.answers)
}

// command has one done, or begun.
func (r *relay) command() {
	r.mu.Lock()
	p := r.current
	r.mu.Unlock()
	p.say("%s", command(client, "node='list'", ""))
	synctest.Wait()
}

// begin leaves everything under way, and gives where the outcomes come.
func (r *relay) begin(t *testing.T) <-chan string {
	t.Helper()
	r.silent.Store(true)
	slow, kept := toOps("seat"), text("user@example.com", "kept")
	slow.To, slow.From, kept.Kept = "slow@rooms.example.com", "other@example.com", true
	outcomes := make(chan string, 3)
	for _, m := range []*message.Message{slow, kept, text("user@example.com", "text")} {
		if _, err := r.Submit(m, func(_ message.Status, err error) { outcomes <- m.ID + " " + kindOf(err) }); err != nil {
			t.Error(err)
		}
	}
	r.sold.delay = time.Hour
	r.command()
	return outcomes
}

// rests finds that there is nothing left of a run.
func (r *relay) rests(t *testing.T, outcomes <-chan string) {
	t.Helper()
	got := make(map[string]bool)
	for range cap(outcomes) {
		got[<-outcomes] = true
	}
	want := map[string]bool{fmt.Sprint("text ", int(fault.Unconfirmed)): true, fmt.Sprint("kept ", int(fault.Unconfirmed)): true, fmt.Sprint("seat ", int(fault.Unavailable)): true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes: %s", diff)
	}
	began := time.Now()
	_, err := r.Deliver(t.Context(), text("user@example.com", "between"))
	if wantKind(t, err, fault.Unavailable); time.Since(began) > 0 {
		t.Error("a message has waited for nothing")
	}
	time.Sleep(time.Hour)
	if !r.Alive() || r.State() != Down || r.Ready() {
		t.Errorf("alive: %v, %v, ready: %v", r.Alive(), r.State(), r.Ready())
	}
	nothingUnderway(t, r.Component)
	up := testutil.ToFloat64(r.metrics.up) + testutil.ToFloat64(r.metrics.refused)
	if n := r.queue.len() + r.rooms.size() + r.rooms.held + len(r.rooms.again) + len(r.inquiries.pending) + len(r.uploads.known) + len(r.desk.busy) + len(r.suspects); n > 0 || up > 0 {
		t.Errorf("%d things are left, metrics %v", n, up)
	}
}

// TestRunAgain: Run leaves nothing behind, and begins as if for the first time, while
// another has used the seat in the room meanwhile.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		if !r.Alive() {
			t.Error("not alive before the first run")
		}
		for _, cut := range []bool{false, true, false} {
			r.away.Store(false)
			r.silent.Store(false)
			stop := r.run(t)
			r.works(t)
			outcomes := r.begin(t)
			if cut {
				r.away.Store(true)
				_ = r.current.conn.Close()
				time.Sleep(longestWait)
			}
			stop()
			r.rests(t, outcomes)
			r.room.mu.Lock()
			r.room.nicks[meThere] = "me_2"
			r.room.mu.Unlock()
		}
	})
}

// TestInquiryBetweenStreams: who asks at that moment is told that there is nobody, and
// the next stream does not carry it.
func TestInquiryBetweenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &services{}
		c := New(files.server().options(t))
		answer := c.inquiries.add(inquiry{"post.example.com", "example.com", "1"}, "<query/>")
		defer c.run(t)()
		if e := <-answer; e != nil {
			t.Errorf("answered by %+v", e)
		}
		up(t, c)
		files.was(t)
	})
}

// TestSubmitWhileItEnds: a message that comes at that moment has its outcome too.
func TestSubmitWhileItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New((&server{}).options(t))
		for range 40 {
			stop := c.run(t)
			up(t, c)
			var told sync.WaitGroup
			var submitting sync.WaitGroup
			for i := range 4 {
				submitting.Go(func() {
					for n := 0; c.State() == Up; n++ {
						told.Add(1)
						if _, err := c.Submit(text("user@example.com", fmt.Sprint(i, " ", n)), func(message.Status, error) { told.Done() }); err != nil {
							told.Done()
						}
					}
				})
			}
			stop()
			submitting.Wait()
			told.Wait()
		}
	})
}
