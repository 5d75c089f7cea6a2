package component

import (
	"slices"
	"sync"
	"time"

	"posthorn/internal/message"
)

// A batch is what one write put on the stream: messages, then a barrier.
type batch struct {
	barrier    string
	written    time.Time
	deliveries []*delivery // those that a room has answered are nil
}

// inflight owns what is written and not confirmed. It calls nobody: its
// methods give back the deliveries whose outcome is now known.
type inflight struct {
	mu      sync.Mutex
	batches []batch   // oldest first
	limit   int       // of batches, beyond which the writer waits for a barrier
	batch   int       // messages in one, at most; immutable
	count   int       // of messages in all batches
	heard   time.Time // when the last barrier came back

	// toRooms are the deliveries whose room has neither reflected nor refused
	// them. A room of another server does so after the barrier, so they stay
	// here when their batch is done.
	toRooms map[reflection]toRoom
}

// A reflection is what names a message to a room in both answers that the room
// can give.
type reflection struct {
	place
	id string
}

type toRoom struct {
	*delivery
	written time.Time
	passed  bool // its barrier is back
}

// add notes b, before it is written.
func (f *inflight) add(b batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, b)
	f.count += len(b.deliveries)
	for _, d := range b.deliveries {
		if d.toRoom() {
			f.toRooms[reflectionOf(d)] = toRoom{delivery: d, written: b.written}
		}
	}
}

func reflectionOf(d *delivery) reflection {
	return reflection{place{d.occupant, d.message.To}, d.wireID}
}

// returned takes out everything up to the barrier of that id: barriers are
// cumulative. What was for rooms is not among what is done by that. The last
// batch is the one it belongs to; ok is false for an id that is not in flight.
// freed reports whether the writer waits for it.
func (f *inflight) returned(id string) (done []batch, freed, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.batches, func(b batch) bool { return b.barrier == id })
	if i < 0 {
		return nil, false, false
	}
	f.heard = time.Now()
	freed = len(f.batches) >= f.limit
	done = append(done, f.batches[:i+1]...)
	f.batches = append(f.batches[:0], f.batches[i+1:]...)
	for _, b := range done {
		f.count -= len(b.deliveries)
		for i, d := range b.deliveries {
			if d != nil && d.toRoom() {
				f.pass(d)
				b.deliveries[i] = nil
			}
		}
	}
	return done, freed, true
}

// full reports whether as much is in flight as may be.
func (f *inflight) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.batches) >= f.limit
}

// worthwhile is how many messages have to wait before they are written: as many
// as the server still works on. A barrier costs it as much as a message or two,
// and what is written meanwhile waits there as well as here; so one message is
// written at once when nothing is in flight, and under load the server gets the
// next batch about when it has done with half of what it has.
func (f *inflight) worthwhile() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(max(1, f.count), f.batch)
}

// setLimit is for the writer alone.
func (f *inflight) setLimit(batches int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = batches
}

// pass notes that the barrier after d is back. The caller holds mu.
func (f *inflight) pass(d *delivery) {
	if r, waits := f.toRooms[reflectionOf(d)]; waits {
		r.passed = true
		f.toRooms[reflectionOf(d)] = r
	}
}

// room gives the delivery that a room's answer is about, or nil.
func (f *inflight) room(r reflection) *delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.toRooms[r].delivery
}

// answered takes out a delivery that its room has reflected or refused.
func (f *inflight) answered(r reflection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.toRooms, r)
	for _, slot := range f.find(func(d *delivery) bool { return d.toRoom() && reflectionOf(d) == r }) {
		*slot = nil
	}
}

// forgetRooms takes out what was written to rooms before then.
func (f *inflight) forgetRooms(then time.Time) (forgotten []*delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r, d := range f.toRooms {
		if d.passed && d.written.Before(then) {
			forgotten = append(forgotten, d.delivery)
			delete(f.toRooms, r)
		}
	}
	return forgotten
}

// bounced gives the delivery that an error is about: by wireID and, in direct
// mode, by its addresses (sender is empty for a wrapper's error). The server
// may write the recipient in another form than we did, and one request may have
// sent one id to several: where even the bare address does not tell which of
// them bounced, none is blamed, and none is taken for delivered. One that has
// bounced is found again but not given again, lest a second error for it be
// laid on another.
func (f *inflight) bounced(wireID string, sender, recipient message.JID) *delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	candidates := f.find(func(d *delivery) bool {
		return !d.toRoom() && d.wireID == wireID && d.wrapped == (sender == "") && (d.wrapped || d.message.From == sender)
	})
	for _, same := range []func(*delivery) bool{
		func(d *delivery) bool { return d.message.To == recipient },
		func(d *delivery) bool { return d.message.To.Bare() == recipient.Bare() },
		func(*delivery) bool { return len(candidates) == 1 },
	} {
		found := false
		for _, slot := range candidates {
			switch d := *slot; {
			case !same(d):
			case d.bounced:
				found = true
			default:
				d.bounced = true
				return d
			}
		}
		if found {
			return nil
		}
	}
	for _, slot := range candidates {
		(*slot).tells = false
	}
	return nil
}

// find gives the places of the deliveries that match. The caller holds mu.
func (f *inflight) find(match func(*delivery) bool) (found []**delivery) {
	for _, b := range f.batches {
		for i := range b.deliveries {
			if d := &b.deliveries[i]; *d != nil && match(*d) {
				found = append(found, d)
			}
		}
	}
	return found
}

// drain takes out everything: what was written since the last barrier that is
// back, in that order, and what rooms have not answered.
func (f *inflight) drain() (written, unreflected []*delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, slot := range f.find(func(d *delivery) bool { return !d.bounced }) {
		written = append(written, *slot)
	}
	for _, d := range f.toRooms {
		if d.passed {
			unreflected = append(unreflected, d.delivery)
		}
	}
	f.batches, f.count = nil, 0
	clear(f.toRooms)
	return written, unreflected
}

// oldest gives how many batches are in flight, when the first was written, and since
// when none has come back.
func (f *inflight) oldest() (n int, written, since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batches) == 0 {
		return 0, time.Time{}, time.Time{}
	}
	written = f.batches[0].written
	if since = written; f.heard.After(since) {
		since = f.heard
	}
	return len(f.batches), written, since
}
