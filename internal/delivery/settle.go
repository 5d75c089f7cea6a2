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
	if w := d.watchers[s.Seq]; w != nil && !s.State.Pending() {
		w.final = &s.outcome
	}
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
		for d.settleSome() && ctx.Err() == nil {
			sleep(ctx, tryAgain)
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
		d.landed(s, applied)
	}
	if s.slot {
		<-d.slots
	}
	if applied {
		d.recount(s)
		d.report(s)
	}
	if applied || !d.shared() { // else another decides
		d.tellWatcher(s)
	}
}

// landed forgets that a record was on the stream. The outbox may have it in hand as
// it was, or have passed it although it is in line: then it reads the line again. The
// caller holds mu.
func (d *Delivery) landed(s *settlement, applied bool) {
	delete(d.flights, s.Seq)
	notify(d.landings)
	a := d.accounts[s.From]
	switch {
	case a == nil:
	case s.Seq > a.cursor:
		d.leavePage(a)
	case !applied:
		a.cursor = s.Seq - 1
		d.leavePage(a)
	}
}

// recount moves a record from what it was to what it is. The caller holds mu.
func (d *Delivery) recount(s *settlement) {
	if s.State == s.Before {
		return
	}
	if d.shared() { // what it counts for is known to who accepted it
		d.lookAt(&s.Record)
		return
	}
	if s.State.Pending() {
		d.count(&s.Record, 1)
	}
	if s.Before.Pending() {
		was := s.Record
		was.State = s.Before
		d.count(&was, -1)
	}
	d.lookAt(&s.Record)
}

// tellWatcher tells whoever waits for a record, unless it is back in line. One that
// is back because its stream has ended may have been delivered, and will be sent
// again: its sender is told that it is kept, as of any other. But not if it was
// sent again before that was written, and has failed. Where several posthorns share the
// keeper, its sender waits on: another may have a stream within the time.
func (d *Delivery) tellWatcher(s *settlement) {
	w := d.watchers[s.Seq]
	if s.State.Pending() {
		s.outcome = message.Outcome{Status: message.Kept}
	}
	if w == nil || s.State == message.Queued && (d.shared() || s.Before != message.Queued || w.final != nil && w.final.Err != nil) {
		return
	}
	d.answer(w, &s.Record, s.outcome)
	if w.call != nil {
		w.call.unwritten--
		d.forgetCall(s.Scope, w.call)
	}
}

// answer tells a watcher what became of a record. The caller holds mu.
func (d *Delivery) answer(w *watcher, r *message.Record, o message.Outcome) {
	delete(d.watchers, r.Seq)
	w.told <- o
	if d.shared() && !r.State.Pending() {
		d.count(r, -1)
	}
}

// report counts and logs what an operator wants to know.
func (d *Delivery) report(s *settlement) {
	r := &s.Record
	switch r.State {
	case message.Expired:
		d.metrics.expired.Inc()
		d.opts.Log.Warn("a kept message expired", "jid", r.From, "to", r.To, "id", r.ID, "attempt", r.Attempts, "reason", r.Detail)
	case message.Bounced, message.Rejected:
		if !d.late(r) {
			return // it is the answer
		}
		d.opts.Log.Info("a kept message was refused", "jid", r.From, "to", r.To, "id", r.ID, "attempt", r.Attempts, "reason", r.Detail)
	case message.Waiting:
		d.metrics.retries.Inc()
	}
}

// renewedStream lets what was on another stream than the present one go again, once
// all that was told of that other stream is written.
func (d *Delivery) renewedStream(ctx context.Context) {
	d.mu.Lock()
	renewed := d.renewed && d.loaded && d.leads() && len(d.settled) == 0
	d.renewed = d.renewed && !renewed
	d.mu.Unlock()
	if renewed && !d.renew(ctx) {
		d.mu.Lock()
		d.renewed = true // sweep has it tried again
		d.mu.Unlock()
	}
}

// renew puts what is unconfirmed back in line. It reports whether that is done.
func (d *Delivery) renew(ctx context.Context) bool {
	term, leads := d.leading()
	if !leads {
		return false
	}
	for after := int64(0); ; {
		records, err := d.keeper.Select(ctx, message.Query{State: message.Unconfirmed, After: after, Limit: maxSettled})
		if err != nil || len(records) == 0 {
			return err == nil
		}
		d.mu.Lock()
		for _, r := range records {
			after = r.Seq
			r.State = message.Queued
			d.settleLater(settlement{Change: message.Change{Record: r, Before: message.Unconfirmed, Under: term}})
		}
		d.mu.Unlock()
		if d.settleSome() {
			return false
		}
	}
}

// sweep looks once a second at what is due: retries, the end of what was kept too
// long, and what an administrator has changed.
func (d *Delivery) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var forgotten time.Time
	for stale := true; ; {
		changed, err := d.keeper.Changed(ctx)
		if stale = stale || err == nil && changed; stale {
			stale = d.reload(ctx) != nil
		}
		d.sweepOnce(ctx, time.Now())
		d.askAgain()
		if now := time.Now(); d.leads() && now.Sub(forgotten) >= forgetEvery {
			_, _ = d.keeper.Forget(ctx, now, maxRemembered) // or in the next minute
			forgotten = now
		}
		notify(d.settle) // for what could not be read when a stream was new
		select {
		case <-tick.C:
		case <-d.stale:
			stale = true
		case <-ctx.Done():
			return
		}
	}
}

// sweepOnce settles what is due, where that is for this one to do.
func (d *Delivery) sweepOnce(ctx context.Context, now time.Time) {
	term, leads := d.leading()
	if !leads {
		return
	}
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
		d.settleLater(settlement{Change: message.Change{Record: r, Before: before, Under: term}, outcome: message.Outcome{Status: message.Kept}})
	}
}

// expire gives a record up.
func (d *Delivery) expire(r *message.Record) {
	d.finish(r, message.Expired)
	if r.Detail == "" {
		r.Detail = "it could not be sent in time"
	}
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
