package delivery

import (
	"context"
	"time"

	"posthorn/internal/message"
)

// A settlement is what has become of a record, to be written.
type settlement struct {
	message.Change                 // Before is as the store has it
	outcome        message.Outcome // for who waits for it
	slot           bool            // it holds one of the outbox's slots
}

const (
	maxSettled = 512         // in one write
	tryAgain   = time.Second // after a write that failed
	// maxRemembered bounds the records whose outcome is final, some 400 bytes each.
	maxRemembered = 1_000_000
	// forgetEvery is how often those are looked through.
	forgetEvery = time.Minute
)

// settleLater puts s behind those that are to be written. The caller holds mu.
func (d *Delivery) settleLater(s settlement) {
	d.settled = append(d.settled, s)
	notify(d.settle)
}

// settleAll writes settlements until ctx ends, and then those that are left.
func (d *Delivery) settleAll(ctx context.Context) {
	for {
		select {
		case <-d.settle:
		case <-ctx.Done():
			d.settleSome()
			return
		}
		for d.settleSome() {
			sleep(ctx, tryAgain)
			if ctx.Err() != nil {
				return
			}
		}
		d.renewedStream(ctx)
	}
}

// settleSome writes what there is, and reports whether the store failed.
func (d *Delivery) settleSome() (failed bool) {
	for {
		batch := d.takeSettled()
		if len(batch) == 0 {
			return false
		}
		if err := d.write(batch); err != nil {
			d.mu.Lock()
			d.settled = append(batch, d.settled...)
			d.mu.Unlock()
			return true
		}
	}
}

func (d *Delivery) takeSettled() []settlement {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(d.settled), maxSettled)
	batch := d.settled[:n:n]
	d.settled = d.settled[n:]
	return batch
}

// write puts a batch on disk, and then counts and tells it.
func (d *Delivery) write(batch []settlement) error {
	d.steady.RLock()
	defer d.steady.RUnlock()
	changes := make([]message.Change, len(batch))
	for i := range batch {
		changes[i] = batch[i].Change
	}
	// What is left when posthorn stops is written all the same.
	applied, err := d.keeper.Settle(context.Background(), changes)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range batch {
		d.done(&batch[i], applied[i])
	}
	notify(d.work)
	return nil
}

// done counts and tells one settlement that is on disk, or was not applied because
// an administrator was faster: what they did is counted by reload. The caller holds
// mu.
func (d *Delivery) done(s *settlement, applied bool) {
	if s.State != message.Queued || s.Before != message.Queued { // else it may be on the stream again
		delete(d.flights, s.Seq)
	}
	if s.slot {
		<-d.slots
	}
	if applied {
		d.recount(s)
		d.report(s)
	}
	d.tellWatcher(s)
}

// recount moves a record from what it was to what it is. The caller holds mu.
func (d *Delivery) recount(s *settlement) {
	if s.State == s.Before {
		return
	}
	was := s.Record
	was.State = s.Before
	d.add(&s.Record, 1)
	d.add(&was, -1)
	d.lookAt(&s.Record)
}

// add counts n records like r, pending or final. The caller holds mu.
func (d *Delivery) add(r *message.Record, n int) {
	if r.State.Pending() {
		d.count(r, n)
	} else {
		d.remembered += n
	}
}

// tellWatcher tells whoever waits for a record, unless it is back in line.
func (d *Delivery) tellWatcher(s *settlement) {
	watcher := d.watchers[s.Seq]
	if watcher == nil || s.State == message.Queued {
		return
	}
	delete(d.watchers, s.Seq)
	if s.State.Pending() {
		watcher <- message.Outcome{Status: message.Kept}
		return
	}
	watcher <- s.outcome
}

// report counts and logs what an operator wants to know.
func (d *Delivery) report(s *settlement) {
	r := &s.Record
	switch r.State {
	case message.Expired:
		d.metrics.expired.Inc()
		d.opts.Log.Warn("a kept message expired", "jid", r.From, "to", r.To, "id", r.ID, "attempt", r.Attempts, "reason", r.Detail)
	case message.Bounced, message.Rejected:
		d.opts.Log.Info("a kept message was refused", "jid", r.From, "to", r.To, "id", r.ID, "attempt", r.Attempts, "reason", r.Detail)
	case message.Waiting:
		d.metrics.retries.Inc()
	}
}

// renewedStream lets what was on another stream than the present one go again.
func (d *Delivery) renewedStream(ctx context.Context) {
	d.mu.Lock()
	renewed := d.renewed && d.loaded
	d.renewed = d.renewed && !d.loaded
	d.mu.Unlock()
	if !renewed {
		return
	}
	for after := int64(0); ; {
		records, err := d.keeper.Select(ctx, message.Query{State: message.Unconfirmed, After: after, Limit: maxSettled})
		if err == nil && len(records) == 0 {
			return
		}
		d.mu.Lock()
		d.renewed = d.renewed || err != nil
		for _, r := range records {
			after = r.Seq
			r.State = message.Queued
			d.settleLater(settlement{Change: message.Change{Record: r, Before: message.Unconfirmed}})
		}
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// sweep looks once a second at what is due: retries, the end of what was kept too
// long, and what an administrator has changed.
func (d *Delivery) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var forgotten time.Time
	for {
		if changed, err := d.keeper.Changed(ctx); err == nil && changed {
			_ = d.reload(ctx) // the next tick tries again
		}
		d.sweepOnce(ctx, time.Now())
		if now := time.Now(); now.Sub(forgotten) >= forgetEvery {
			d.forget(ctx, now)
			forgotten = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweepOnce settles what is due.
func (d *Delivery) sweepOnce(ctx context.Context, now time.Time) {
	due, err := d.keeper.Select(ctx, message.Query{Open: true, WakeBy: now, Limit: 2 * maxSettled})
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range due {
		if _, flies := d.flights[r.Seq]; flies {
			continue
		}
		before := r.State
		switch {
		case !now.Before(r.Expires):
			d.expire(&r)
		case before == message.Waiting:
			r.State, r.Wake = message.Queued, r.Expires
		default:
			continue
		}
		d.flights[r.Seq] = struct{}{} // until it is settled
		d.settleLater(settlement{Change: message.Change{Record: r, Before: before}, outcome: message.Outcome{Status: message.Kept}})
	}
}

// expire gives a record up.
func (d *Delivery) expire(r *message.Record) {
	d.finish(r, message.Expired)
	if r.Detail == "" {
		r.Detail = "it could not be sent in time"
	}
}

// forget removes outcomes that nobody is promised any more.
func (d *Delivery) forget(ctx context.Context, now time.Time) {
	d.steady.RLock()
	defer d.steady.RUnlock()
	n, err := d.keeper.Forget(ctx, now, maxRemembered)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remembered -= n
}

// sleep waits for t or for the end of ctx.
func sleep(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
