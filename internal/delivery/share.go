package delivery

import (
	"context"
	"slices"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// Several posthorns may share a keeper. Each keeps there what it accepts, and waits for
// what becomes of it. One leads: it has the lease, and with it the stream, and hands over
// what all of them have kept, by claims that those of a later one make void. So nothing
// that one of them holds in memory decides about a message, and any of them may end at
// any time.
//
// What one has written the others are told of. Words get lost, so each looks by itself as
// well: what is in line is counted anew when the keeper says so, and what is waited for
// is asked about once a second.

// shared reports whether there are several.
func (d *Delivery) shared() bool { return d.opts.Term != nil }

// leads reports whether what is kept is for this one to send.
func (d *Delivery) leads() bool {
	_, leads := d.leading()
	return leads
}

// leading is leads with the term under which it is so: 0 where there is but one. What is
// decided about what was read after that is void once another leads, which may have it on
// its stream by then.
func (d *Delivery) leading() (term int64, leads bool) {
	if !d.shared() {
		return 0, true
	}
	term = d.opts.Term()
	return term, term != 0
}

// setWaits notes in records that are to be kept whether their sender waits for what
// becomes of them: not where none has a stream. The keeper lets nobody make such a record
// Failed whose sender has stopped waiting.
func (d *Delivery) setWaits(records []message.Record) {
	waits := d.shared() && d.opts.Flows()
	for i := range records {
		records[i].Waits = waits
	}
}

// patient reports whether it is worth waiting for what becomes of records.
func (d *Delivery) patient(records []message.Record) bool {
	if d.shared() {
		return records[0].Waits
	}
	return d.opts.Up()
}

const (
	// maxLines is how many lines are claimed at once: a claim is a way to the database and
	// back, however many they are.
	maxLines = 64
	// maxClaimed bounds what is claimed at once.
	maxClaimed = 2 * window
)

// atOnce is how many lines are read at once.
func (d *Delivery) atOnce() int {
	if d.shared() {
		return maxLines
	}
	return 1
}

// readPages reads what is next in lines, and where there are several posthorns makes it
// this one's.
func (d *Delivery) readPages(ctx context.Context, pages []page) (err error) {
	if !d.shared() {
		p := &pages[0]
		p.records, err = d.keeper.Select(ctx, message.Query{From: p.From, State: message.Queued, After: p.After, Limit: pageLength})
		p.more = len(p.records) == pageLength
		return err
	}
	lines := make([]message.Line, len(pages))
	for i := range pages {
		lines[i] = pages[i].Line
	}
	records, more, err := d.keeper.Claim(ctx, d.opts.Term(), lines, min(pageLength, maxClaimed/len(lines)))
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, found := range records {
		pages[i].records, pages[i].more = found, more[i]
		if len(found) > 0 { // what another has put in line late may be before the cursor: until it is on the stream it is to be read again
			pages[i].account.cursor = min(pages[i].account.cursor, found[0].Seq-1)
		}
	}
	return err
}

// begun reports whether all is written that has become of what was on an earlier stream
// of this one's. Before, what came after it may not go again: a leader that takes over
// now would send all that has no outcome, and in another order.
func (d *Delivery) begun() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begins = d.begins && len(d.flights)+len(d.settled) > 0
	return !d.begins
}

// Arrived is to be called when another posthorn has put something of a sender in line,
// from that Seq on.
func (d *Delivery) Arrived(sender message.JID, seq int64) {
	if !d.leads() {
		return // whoever comes to lead looks at everything
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookFrom(d.account(sender), seq)
}

// Settled is to be called when another posthorn has written what became of records.
func (d *Delivery) Settled(seqs []int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, seq := range seqs {
		if d.watchers[seq] != nil {
			d.heard[seq] = struct{}{}
			notify(d.news)
		}
	}
}

// Missed is to be called when something that others have said may have been lost.
func (d *Delivery) Missed() { notify(d.stale) }

// askAgain has learn ask about all that is waited for.
func (d *Delivery) askAgain() {
	if !d.shared() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for seq := range d.watchers {
		d.heard[seq] = struct{}{}
	}
	notify(d.news)
}

// learn tells those who wait what others have written, until ctx ends.
func (d *Delivery) learn(ctx context.Context) {
	for {
		select {
		case <-d.news:
			d.learnSome(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (d *Delivery) learnSome(ctx context.Context) {
	for seqs := range slices.Chunk(d.takeHeard(), maxSettled) {
		records, err := d.keeper.Select(ctx, message.Query{Seqs: seqs})
		if err != nil {
			return // askAgain does
		}
		d.tellOf(records)
	}
}

func (d *Delivery) takeHeard() (seqs []int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for seq := range d.heard {
		seqs = append(seqs, seq)
	}
	clear(d.heard)
	return seqs
}

// tellOf tells those who wait for records that are not in line any more. A record that was
// read before it was put back in line says what became of it the last time.
func (d *Delivery) tellOf(records []message.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range records {
		r := &records[i]
		if w := d.watchers[r.Seq]; w != nil && r.State != message.Queued && r.Expires.Equal(w.expires) {
			d.answer(w, r, outcomeNow(r))
		}
	}
}

// outcomeNow gives what a record tells whoever waits for it.
func outcomeNow(r *message.Record) message.Outcome {
	switch r.State {
	case message.Failed:
		return message.Outcome{Err: fault.New(fault.KindOf(r.Code), "%s", r.Detail)}
	case message.Expired:
		return message.Outcome{Status: message.Kept}
	}
	return outcomeOf(r)
}

// leaveLine is stopWaiting where another posthorn may be about to decide: the keeper says
// who was first.
func (d *Delivery) leaveLine(records []message.Record, watching []*watcher, outcomes []message.Outcome) {
	now := make(map[int64]*message.Record, len(records))
	found, err := records, error(nil)
	if records[0].Waits {
		found, err = d.keeper.StopWaiting(context.Background(), seqsOf(watching))
	}
	for i := range found {
		now[found[i].Seq] = &found[i]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range watching {
		select {
		case outcomes[i] = <-w.told:
			continue
		default:
		}
		delete(d.watchers, w.seq)
		outcomes[i] = knownNow(now[w.seq], err)
	}
}

func seqsOf(watching []*watcher) []int64 {
	seqs := make([]int64, len(watching))
	for i, w := range watching {
		seqs[i] = w.seq
	}
	return seqs
}

// knownNow is what can be said of a record that is r now, nil where err says why that is
// not known.
func knownNow(r *message.Record, err error) message.Outcome {
	if r != nil {
		return outcomeNow(r)
	}
	return message.Outcome{Err: fault.Wrap(err, fault.Unconfirmed, "the database that keeps the message does not answer: it may or may not be delivered")}
}

// waitFor waits for records that another posthorn has accepted.
func (d *Delivery) waitFor(ctx context.Context, records []message.Record) []message.Outcome {
	if len(records) == 0 {
		return nil
	}
	watching := d.watch(records)
	d.Settled(seqsOf(watching)) // or they were before anybody watched
	return d.await(ctx, records, watching)
}

// keepLooking lets reload not forget what was said while it counted. The caller holds mu.
func (d *Delivery) keepLooking(before map[message.JID]*account) {
	if !d.shared() || !d.leads() {
		return
	}
	for sender, old := range before {
		if old.look || old.inHand { // what is in hand is handed over by nobody now
			d.account(sender).look = true
		}
		if a := d.accounts[sender]; a != nil {
			a.resume = old.resume
		}
	}
}
