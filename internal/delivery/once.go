package delivery

import (
	"context"
	"slices"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A call is a request with an idempotency key that is under way, or whose answer is
// not written yet. What it came to is written before done is closed.
type call struct {
	digest    string
	done      chan struct{}
	outcomes  []message.Outcome
	err       error
	over      bool // done is closed; guarded by Delivery.mu
	unwritten int  // outcomes that it has given and the store does not have; guarded by Delivery.mu
}

// once delivers a request that may be a repetition of an earlier one: then it gives
// what became of that, and sends nothing again but what had not been sent, kept or
// refused for good. The records are on disk before anything is sent, so that a
// crash does not forget the key.
func (d *Delivery) once(ctx context.Context, r message.Request) ([]message.Outcome, error) {
	c, first := d.join(r)
	switch {
	case c.digest != r.Digest:
		return nil, otherRequest()
	case first: // it goes on although its client goes: others may wait for the same
		c.outcomes, c.err = d.first(context.WithoutCancel(ctx), r)
		d.leave(r.Scope, c)
	}
	select {
	case <-c.done:
		return c.outcomes, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join gives the call for a request, and whether it is the caller's to make.
func (d *Delivery) join(r message.Request) (c *call, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.calls[r.Scope]; c != nil {
		return c, false
	}
	c = &call{digest: r.Digest, done: make(chan struct{})}
	d.calls[r.Scope] = c
	return c, true
}

func (d *Delivery) leave(scope string, c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.over = true
	close(c.done)
	d.forgetCall(scope, c)
}

// forgetCall lets the store answer from now on, if it knows all that the call has
// answered. The caller holds mu.
func (d *Delivery) forgetCall(scope string, c *call) {
	if c.over && c.unwritten == 0 {
		delete(d.calls, scope)
	}
}

func otherRequest() error {
	return fault.New(fault.Unsendable, "the Idempotency-Key was used for another message: take a new key for each")
}

func (d *Delivery) first(ctx context.Context, r message.Request) ([]message.Outcome, error) {
	if r.Prepare != nil {
		if outcomes, known, err := d.known(ctx, r); known || err != nil {
			return outcomes, err
		}
		if err := d.complete(ctx, r); err != nil {
			return nil, err
		}
	}
	r.Messages = d.amended(r)
	records := make([]message.Record, len(r.Messages))
	for i, m := range r.Messages {
		records[i] = d.record(m, d.next())
		records[i].Scope, records[i].Digest = r.Scope, r.Digest
	}
	outcomes, earlier, err := d.keepAndWait(ctx, records)
	if err != nil { // what cannot be kept now may have been before
		earlier, _ = d.keeper.Select(ctx, message.Query{Scope: r.Scope})
	}
	switch {
	case len(earlier) == 0:
		d.remember(r.Update, r.Messages, outcomes)
		return outcomes, err
	case earlier[0].Digest != r.Digest:
		return nil, otherRequest()
	}
	return d.repeat(ctx, r, earlier), nil
}

// known answers a request of which an earlier one has left nothing to be done, before
// its messages are complete.
func (d *Delivery) known(ctx context.Context, r message.Request) (outcomes []message.Outcome, known bool, err error) {
	earlier, err := d.keeper.Select(ctx, message.Query{Scope: r.Scope})
	switch {
	case err != nil:
		return nil, false, err // nor could anything be kept
	case len(earlier) == 0:
		return nil, false, nil
	case earlier[0].Digest != r.Digest:
		return nil, false, otherRequest()
	case slices.ContainsFunc(earlier, triable):
		return nil, false, nil
	}
	return d.repeat(ctx, r, earlier), true, nil
}

// triable reports whether a repetition sends again what the record is about.
func triable(r message.Record) bool {
	return r.State == message.Failed || r.State == message.Expired
}

// repeat gives what became of an earlier request for the same messages.
func (d *Delivery) repeat(ctx context.Context, r message.Request, earlier []message.Record) []message.Outcome {
	known := make(map[message.JID]*message.Record)
	for i := range earlier {
		known[earlier[i].To] = &earlier[i]
	}
	outcomes := make([]message.Outcome, len(r.Messages))
	var sent []*message.Message
	var again []message.Record
	var before []message.State
	var places []int
	var others []message.Record // under way with another posthorn
	var theirs []int
	for i, m := range r.Messages {
		old := known[m.To]
		if old != nil && triable(*old) {
			sent, again, before, places = append(sent, m), append(again, d.again(*old, m)), append(before, old.State), append(places, i)
			continue
		}
		if old != nil && old.Waits && old.State.Pending() {
			others, theirs = append(others, *old), append(theirs, i)
			continue
		}
		outcomes[i] = outcomeOf(old)
	}
	retried := d.retry(ctx, again, before)
	d.remember(r.Update, sent, retried)
	for i, o := range retried {
		outcomes[places[i]] = o
	}
	for i, o := range d.waitFor(ctx, others) {
		outcomes[theirs[i]] = o
	}
	return outcomes
}

// outcomeOf gives what a record tells; nil: it is not remembered any more, though
// others of the same request are.
func outcomeOf(r *message.Record) message.Outcome {
	switch {
	case r == nil:
		return message.Outcome{Err: fault.New(fault.Unsendable, "the Idempotency-Key was used, and what became of this message is not remembered any more: take a new key")}
	case r.State.Pending():
		return message.Outcome{Status: message.Kept}
	case r.State == message.Bounced, r.State == message.Rejected:
		return message.Outcome{Err: fault.New(fault.KindOf(r.Code), "%s", r.Detail)}
	}
	return message.Outcome{Status: message.Status(r.State)}
}

// again makes r what is to be sent once more.
func (d *Delivery) again(r message.Record, m *message.Message) message.Record {
	r.Message, r.State = m, message.Queued
	r.Expires = time.Now().Add(d.life(m))
	r.Wake = r.Expires
	return r
}

// retry puts records back in line and waits for what becomes of them.
func (d *Delivery) retry(ctx context.Context, records []message.Record, before []message.State) []message.Outcome {
	if len(records) == 0 {
		return nil
	}
	d.setWaits(records)
	watching := d.watch(records)
	if err := d.putBack(records, before); err != nil {
		d.unwatch(watching)
		return slices.Repeat([]message.Outcome{{Err: err}}, len(records))
	}
	return d.await(ctx, records, watching)
}
