package component

import (
	"sync"
	"time"

	"posthorn/internal/message"
)

// A batch is what one write put on the stream: messages, then a barrier.
type batch struct {
	barrier    string
	written    time.Time
	deliveries []*delivery // bounced ones are nil
}

// inflight owns what is written and not confirmed. It calls nobody: its
// methods give back the deliveries whose outcome is now known.
type inflight struct {
	mu      sync.Mutex
	batches []batch // oldest first
}

// add notes b, before it is written.
func (f *inflight) add(b batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, b)
}

// returned takes out everything up to the barrier of that id: barriers are
// cumulative. The last batch is the one it belongs to; ok is false for an id
// that is not in flight.
func (f *inflight) returned(id string) (done []batch, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, b := range f.batches {
		if b.barrier == id {
			done = append(done, f.batches[:i+1]...)
			f.batches = append(f.batches[:0], f.batches[i+1:]...)
			return done, true
		}
	}
	return nil, false
}

// bounced takes out the delivery that an error is about: by wireID and, in
// direct mode, by its addresses (sender is empty for a wrapper's error). The
// server may write the recipient in another form than we did, and one request
// may have sent one id to several: where even the bare address does not tell
// which of them bounced, none is blamed, and none is taken for delivered.
func (f *inflight) bounced(wireID string, sender, recipient message.JID) *delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	candidates := f.find(func(d *delivery) bool {
		return d.wireID == wireID && d.wrapped == (sender == "") && (d.wrapped || d.message.From == sender)
	})
	for _, same := range []func(*delivery) bool{
		func(d *delivery) bool { return d.message.To == recipient },
		func(d *delivery) bool { return d.message.To.Bare() == recipient.Bare() },
		func(*delivery) bool { return len(candidates) == 1 },
	} {
		for _, slot := range candidates {
			if d := *slot; same(d) {
				*slot = nil
				return d
			}
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

// drain takes out everything, in the order in which it was written.
func (f *inflight) drain() []*delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*delivery
	for _, b := range f.batches {
		for _, d := range b.deliveries {
			if d != nil {
				all = append(all, d)
			}
		}
	}
	f.batches = nil
	return all
}

// oldest gives how many batches are in flight and when the first was written.
func (f *inflight) oldest() (n int, written time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batches) == 0 {
		return 0, time.Time{}
	}
	return len(f.batches), f.batches[0].written
}
