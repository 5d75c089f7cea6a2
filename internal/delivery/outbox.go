package delivery

import (
	"context"
	"math"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

const (
	// pageLength is how many records of one sender are handed over before it is
	// another's turn.
	pageLength = 128
	// refusedWait is how long a sender's line rests when the stream would not take
	// what is first.
	refusedWait = 200 * time.Millisecond
	// muteWait is the same where a person has to change something first.
	muteWait = 10 * time.Second
	// lookAgain is how often the line is looked at without a reason.
	lookAgain = time.Second
)

// drain hands over what is in line until ctx ends.
func (d *Delivery) drain(ctx context.Context) {
	tick := time.NewTicker(refusedWait)
	defer tick.Stop()
	for {
		select {
		case <-d.work:
		case <-tick.C: // for those that rest
		case <-ctx.Done():
			return
		}
		for d.opts.Up() && d.begun() && d.turn(ctx) {
		}
	}
}

// turn gives each sender with something in line a page. It reports whether there
// may be more.
func (d *Delivery) turn(ctx context.Context) (more bool) {
	for _, sender := range d.ready() {
		if ctx.Err() != nil || !d.opts.Up() {
			return false
		}
		if d.handPage(ctx, sender) {
			more = true
		}
	}
	return more
}

// ready gives the senders that have something to hand over.
func (d *Delivery) ready() (senders []message.JID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.accounts) == 0 {
		return nil
	}
	now := time.Now()
	for sender, a := range d.accounts {
		if a.look && now.After(a.resume) {
			senders = append(senders, sender)
		}
	}
	return senders
}

// handPage hands over the next records of a sender. It reports whether there may
// be more.
func (d *Delivery) handPage(ctx context.Context, sender message.JID) (more bool) {
	page, after := d.startPage(sender)
	if page == nil {
		return false
	}
	records, more, err := d.readPage(ctx, message.Query{From: sender, State: message.Queued, After: after, Limit: pageLength})
	if err != nil {
		d.rest(sender, lookAgain)
		return false
	}
	for i := range records {
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return false
		}
		submitted, goOn := d.submit(page, &records[i])
		if !submitted {
			<-d.slots
		}
		if !goOn {
			return true
		}
	}
	if more {
		d.lookOn(sender)
	}
	return more
}

// startPage gives the account of a sender, and where its next page begins. What
// comes to be in line after it sets look again.
func (d *Delivery) startPage(sender message.JID) (page *account, after int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.page = d.accounts[sender]; d.page == nil {
		return nil, 0
	}
	d.page.look, d.page.newcomer = false, math.MaxInt64
	return d.page, d.page.cursor
}

func (d *Delivery) lookOn(sender message.JID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.accounts[sender]; a != nil {
		a.look = true
	}
}

func (d *Delivery) rest(sender message.JID, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.accounts[sender]; a != nil {
		a.look, a.resume = true, time.Now().Add(wait)
	}
}

// submit hands over one record of a page. goOn is false where the page is not the
// line any more, or the stream takes no more. Holding mu, it cannot overtake what
// comes back from the stream.
func (d *Delivery) submit(page *account, r *message.Record) (submitted, goOn bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.page != page || r.Seq > page.newcomer || d.shared() && r.Term != d.opts.Term() {
		return false, false
	}
	_, flies := d.flights[r.Seq]
	if flies || !time.Now().Before(r.Expires) {
		page.cursor = r.Seq
		return false, true
	}
	d.prepare(r)
	_, err := d.sender.Submit(r.Message, func(status message.Status, err error) {
		d.returned(*r, message.Outcome{Status: status, Err: err}, true)
	})
	if err == nil {
		d.flights[r.Seq] = struct{}{}
		page.cursor = r.Seq
		return true, true
	}
	if d.refused(r, err) {
		page.cursor = r.Seq
		return false, true
	}
	page.look, page.resume = true, time.Now().Add(restAfter(fault.Of(err)))
	return false, false
}

// restAfter is how long a line rests after what was first in it was refused.
func restAfter(f *fault.Error) time.Duration {
	if f.Kind == fault.Unavailable && !f.Passing {
		return muteWait
	}
	return refusedWait
}

// refused settles a record that the stream would not take, if somebody waits for
// it who can be told. The caller holds mu.
func (d *Delivery) refused(r *message.Record, err error) bool {
	f, before := fault.Of(err), r.State
	if !d.watched(r) || f.Passing {
		return false
	}
	r.Code, r.Detail = f.Kind.String(), f.Public
	d.finish(r, message.Failed)
	d.flights[r.Seq] = struct{}{}
	d.settleLater(settlement{Change: message.Change{Record: *r, Before: before, Under: r.Term}, outcome: message.Outcome{Err: err}})
	return true
}

// prepare makes r's message what goes on the stream. It is late once nobody waits
// for it. The caller holds mu.
func (d *Delivery) prepare(r *message.Record) {
	r.Message.Kept = true
	if !d.watched(r) || d.shared() && time.Since(r.Accepted) > d.opts.ConfirmTimeout {
		r.Message.Accepted = r.Accepted
	}
}

// watched reports whether the sender of r still waits for its outcome. The caller
// holds mu.
func (d *Delivery) watched(r *message.Record) bool {
	if d.shared() { // with any posthorn; the store knows whether it still does when that counts
		return r.Waits
	}
	return d.watchers[r.Seq] != nil
}

// returned takes what became of a record that the stream had. slot is whether it
// holds one.
func (d *Delivery) returned(r message.Record, o message.Outcome, slot bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := r.State
	d.judge(&r, o, d.watched(&r))
	if r.State == message.Queued {
		delete(d.flights, r.Seq)
		notify(d.landings)
		d.lookAt(&r)
	}
	if r.State == message.Queued && fault.Of(o.Err).Kind == fault.Unavailable { // nothing of it happened
		if a := d.accounts[r.From]; a != nil {
			a.resume = time.Now().Add(refusedWait)
		}
		if slot {
			<-d.slots
		}
		return
	}
	// One that is back in line keeps its slot until that is written, or a database
	// that fails and a stream that ends again and again would fill the memory.
	d.settleLater(settlement{Change: message.Change{Record: r, Before: before, Under: r.Term}, outcome: o, slot: slot})
}
