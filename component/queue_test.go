package component

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
	"posthorn/internal/stream"
)

func from(sender message.JID, id string) *delivery {
	return &delivery{message: &message.Message{From: sender, ID: id}}
}

// TestQueueTakesTurns: each sender's messages keep their order, and a sender
// with many waits no less than one with few.
func TestQueueTakesTurns(t *testing.T) {
	q := newQueue(100)
	for _, d := range []*delivery{from("a", "1"), from("a", "2"), from("a", "3"), from("b", "1"), from("c", "1"), from("b", "2")} {
		if !q.push(d) {
			t.Fatalf("%s %s was refused", d.message.From, d.message.ID)
		}
	}
	var got []string
	for d := q.pop(); d != nil; d = q.pop() {
		got = append(got, string(d.message.From)+d.message.ID)
		if len(got) == 4 { // one who comes while others wait
			q.push(from("d", "1"))
		}
	}
	if diff := cmp.Diff(strings.Fields("a1 b1 c1 a2 b2 a3 d1"), got); diff != "" {
		t.Error(diff)
	}
	if q.len() != 0 || len(q.lines) != 0 || q.first != nil || q.last != nil {
		t.Errorf("something is left: %d waiting, %d lines", q.len(), len(q.lines))
	}
}

// TestQueueShares: who floods gets no more than what is free, so that there is
// room for others, however many flood.
func TestQueueShares(t *testing.T) {
	q := newQueue(64)
	fill := func(sender message.JID) (n int) {
		for ; q.push(from(sender, fmt.Sprint(n))); n++ {
		}
		return n
	}
	got := []int{fill("a"), fill("b"), fill("c"), fill("d")}
	if diff := cmp.Diff([]int{32, 16, 8, 4}, got); diff != "" {
		t.Error(diff)
	}
	for i := range 4 {
		if !q.push(from(message.JID(fmt.Sprint("late", i)), "1")) {
			t.Errorf("sender %d found no room", i)
		}
	}
	if q.push(from("one too many", "1")) {
		t.Error("the queue has no bound")
	}
	for q.pop() != nil {
	}
	if n := fill("a"); n != 32 {
		t.Errorf("an emptied queue takes %d", n)
	}
}

// TestFloodStarvesNobody: while one sender has more waiting than there is room
// for, another's message is taken, and sent before what waits.
func TestFloodStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := &server{}
		s.onBarrier = func(_ int, p *peer, _ *stream.Element) bool {
			if p.barriers > 1 {
				<-hold
			}
			return false
		}
		c := s.start(t)
		up(t, c)
		var wait sync.WaitGroup
		refused := make(chan error, 2*queueLength)
		for i := range 2 * queueLength {
			wait.Go(func() {
				if _, err := c.Deliver(t.Context(), text("user@example.com", fmt.Sprint(i))); err != nil {
					refused <- err
				}
			})
		}
		synctest.Wait()
		flooded := len(refused)
		if flooded == 0 {
			t.Fatal("it was no flood")
		}
		wait.Go(func() {
			m := text("user@example.com", "patient")
			m.From = "other@example.com"
			if _, err := c.Deliver(t.Context(), m); err != nil {
				t.Errorf("beside a flood: %v", err)
			}
		})
		synctest.Wait()
		close(hold)
		wait.Wait()
		if len(refused) != flooded {
			t.Errorf("%d of those that were taken were not sent", len(refused)-flooded)
		}
		before := 0
		for _, e := range s.received() {
			if e.Attr("id") == "patient" {
				break
			}
			before++
		}
		if limit := (window + 1) * batchMessages; before > limit {
			t.Errorf("%d messages were sent before it, want %d at most", before, limit)
		}
	})
}

// TestAwait: the writer is woken when enough wait, and how many that is depends
// on what the server works on.
func TestAwait(t *testing.T) {
	f := inflight{limit: window, batch: batchMessages, toRooms: make(map[reflection]toRoom)}
	q := newQueue(100)
	woken := func() bool {
		select {
		case <-q.waiting:
			return true
		default:
			return false
		}
	}
	push := func(want bool) {
		t.Helper()
		q.push(from("a", "x"))
		if got := woken(); got != want {
			t.Errorf("with %d in flight and %d waiting: woken is %v, want %v", f.count, q.len(), got, want)
		}
	}
	q.await(f.worthwhile)
	push(true) // nothing is in flight: one is enough
	q.pop()
	f.add(batch{barrier: "1", deliveries: []*delivery{from("a", "1"), from("a", "2")}})
	f.add(batch{barrier: "2", deliveries: []*delivery{from("a", "3")}})
	q.await(f.worthwhile)
	push(false)
	push(false)
	push(true) // as many as are in flight
	q.pop()
	f.returned("1")
	if q.await(f.worthwhile); !woken() {
		t.Error("not woken when the server has little left")
	}
	f.add(batch{barrier: "3", deliveries: make([]*delivery, 0)})
	if n := f.worthwhile(); n != 1 {
		t.Errorf("a barrier alone counts as %d messages", n)
	}
	f.drain()
	for range 4 * batchMessages {
		f.add(batch{deliveries: []*delivery{from("a", "1")}})
	}
	if n := f.worthwhile(); n != batchMessages {
		t.Errorf("%d have to wait, but only %d go into one batch", n, batchMessages)
	}
}
