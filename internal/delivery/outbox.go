package delivery

import (
	"context"
	"math"
	"slices"
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
	for senders := range slices.Chunk(d.ready(), d.atOnce()) {
		if ctx.Err() != nil || !d.opts.Up() {
			return false
		}
		if d.handPages(ctx, senders) {
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

// A page is what is next in a sender's line.
type page struct {
	message.Line
	account *account
	records []message.Record
	more    bool // there may be more behind it, or it has to be looked at again
}

// handPages hands over the next records of senders. It reports whether there may be
// more.
func (d *Delivery) handPages(ctx context.Context, senders []message.JID) (more bool) {
	pages := d.startPages(senders)
	if len(pages) == 0 {
		return false
	}
	if err := d.readPages(ctx, pages); err != nil {
		for i := range pages {
			d.rest(pages[i].From, lookAgain)
		}
		return false
	}
	for i := range pages {
		if d.handPage(ctx, &pages[i]) {
			more = true
		}
	}
	return more
}

// handPage is handPages for one that is read.
func (d *Delivery) handPage(ctx context.Context, p *page) (more bool) {
	defer func() { d.endPage(p.account, more) }()
	for i := range p.records {
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return false
		}
		submitted, goOn := d.submit(p.account, &p.records[i])
		if !submitted {
			<-d.slots
		}
		if !goOn {
			return true
		}
	}
	return p.more
}

// startPages gives where the next pages of senders begin. What comes to be in line after
// that sets look again.
func (d *Delivery) startPages(senders []message.JID) (pages []page) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, sender := range senders {
		if a := d.accounts[sender]; a != nil {
			a.look, a.newcomer, a.inHand = false, math.MaxInt64, true
			pages = append(pages, page{Line: message.Line{From: sender, After: a.cursor}, account: a})
		}
	}
	return pages
}

// endPage lets go of a page, behind which there may be more.
func (d *Delivery) endPage(a *account, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.look, a.inHand = a.look || more, false
}

func (d *Delivery) rest(sender message.JID, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.accounts[sender]; a != nil {
		a.look, a.resume = true, time.Now().Add(wait)
	}
}

// submit hands over one record of an account's page. goOn is false where the page is not
// the line any more, or the stream takes no more. Holding mu, it cannot overtake what
// comes back from the stream.
func (d *Delivery) submit(a *account, r *message.Record) (submitted, goOn bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts[r.From] != a || !a.inHand || r.Seq > a.newcomer || d.shared() && r.Term != d.opts.Term() {
		return false, false
	}
	_, flies := d.flights[r.Seq]
	if flies || !time.Now().Before(r.Expires) {
		a.cursor = r.Seq
		return false, true
	}
	d.prepare(r)
	_, err := d.sender.Submit(r.Message, func(status message.Status, err error) {
		d.returned(*r, message.Outcome{Status: status, Err: err}, true)
	})
	if err == nil {
		d.flights[r.Seq] = struct{}{}
		a.cursor = r.Seq
		return true, true
	}
	if d.refused(r, err) {
		a.cursor = r.Seq
		return false, true
	}
	a.look, a.resume = true, time.Now().Add(restAfter(fault.Of(err)))
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
	if d.late(r) {
		r.Message.Accepted = r.Accepted
	}
}

// late reports whether the sender of r has been told that it is kept. The caller holds mu.
func (d *Delivery) late(r *message.Record) bool {
	return !d.watched(r) || d.shared() && time.Since(r.Accepted) > d.opts.ConfirmTimeout
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
