package delivery

import (
	"context"
	"errors"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// An account is what one sender has kept. All of it is guarded by Delivery.mu.
type account struct {
	records int                 // pending
	bytes   int64               // of them
	lines   map[message.JID]int // by recipient: how many are in line, those on the stream included; none is 0

	// What the outbox knows.
	look     bool      // there may be something behind cursor
	inHand   bool      // the page that was begun last is the line still
	cursor   int64     // all in line up to this Seq is on the stream
	newcomer int64     // the smallest Seq that came into line since the page in hand was begun
	resume   time.Time // the stream would not take more: not before
}

// waits reports whether m has to wait in line, because others from its sender to
// its recipient do.
func (d *Delivery) waits(m *message.Message) bool {
	if d.inLine.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts[m.From]
	return a != nil && a.lines[m.To] > 0
}

// lineUp keeps a record behind those that wait, and while the stream is up waits
// with its sender for what becomes of it.
func (d *Delivery) lineUp(ctx context.Context, r message.Record) message.Outcome {
	outcomes, _, err := d.keepAndWait(ctx, []message.Record{r})
	if err != nil {
		return message.Outcome{Err: err}
	}
	return outcomes[0]
}

// keep puts one record into the store.
func (d *Delivery) keep(r message.Record) error {
	if err := d.sender.Fits(r.Message); err != nil && r.Attempts == 0 {
		return err
	}
	_, err := d.put([]message.Record{r}, func() {})
	return err
}

// keepAndWait puts records into the store, all or none, and waits for what becomes
// of them, while the stream is up and no longer than the confirm timeout. Of a
// request that was kept before, it gives those records instead.
func (d *Delivery) keepAndWait(ctx context.Context, records []message.Record) (outcomes []message.Outcome, earlier []message.Record, err error) {
	for _, r := range records {
		if err := d.sender.Fits(r.Message); err != nil {
			return nil, nil, err
		}
	}
	d.setWaits(records)
	var watching []*watcher
	earlier, err = d.put(records, func() {
		d.unwatch(watching)
		watching = d.watch(records)
	})
	if err != nil || len(earlier) > 0 {
		d.unwatch(watching)
		return nil, earlier, err
	}
	return d.await(ctx, records, watching), nil, nil
}

// A watcher waits for what becomes of a record.
type watcher struct {
	seq     int64                // of the record
	expires time.Time            // that too: another when it is put back in line
	told    chan message.Outcome // capacity 1, written once

	// Guarded by Delivery.mu.
	final *message.Outcome // what it will be told, once that is written; nil: not known
	call  *call            // has given its sender that already, and stays until it is written; nil: none
}

// await waits for outcomes. What is not known in time is kept.
func (d *Delivery) await(ctx context.Context, records []message.Record, watching []*watcher) []message.Outcome {
	outcomes := make([]message.Outcome, len(watching))
	patience := d.opts.ConfirmTimeout
	if !d.patient(records) {
		patience = 0
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for i, w := range watching {
		select {
		case outcomes[i] = <-w.told:
			continue
		case <-timeout.C:
		case <-ctx.Done():
		}
		if d.shared() {
			d.leaveLine(records[i:], watching[i:], outcomes[i:])
		} else {
			d.stopWaiting(records[i:], watching[i:], outcomes[i:])
		}
		break
	}
	return outcomes
}

// stopWaiting says what is known of records now. Whatever comes to be known later
// is decided without their sender, who is told that they are kept.
func (d *Delivery) stopWaiting(records []message.Record, watching []*watcher, outcomes []message.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range watching {
		r := &records[i]
		select {
		case outcomes[i] = <-w.told:
			continue
		default:
		}
		if w.final == nil {
			outcomes[i].Status = message.Kept
			delete(d.watchers, r.Seq)
			continue
		}
		outcomes[i] = *w.final
		if w.call = d.calls[r.Scope]; w.call != nil {
			w.call.unwritten++
		}
	}
}

// watch lets somebody wait for what becomes of records.
func (d *Delivery) watch(records []message.Record) []*watcher {
	d.mu.Lock()
	defer d.mu.Unlock()
	watching := make([]*watcher, len(records))
	for i, r := range records {
		watching[i] = &watcher{seq: r.Seq, expires: r.Expires, told: make(chan message.Outcome, 1)}
		d.watchers[r.Seq] = watching[i]
	}
	return watching
}

func (d *Delivery) unwatch(watching []*watcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range watching {
		delete(d.watchers, w.seq)
	}
}

// put puts pending records of one sender into the store, which calls numbered before
// anybody else can see them.
func (d *Delivery) put(records []message.Record, numbered func()) (earlier []message.Record, err error) {
	d.steady.RLock()
	defer d.steady.RUnlock()
	if err := d.reserve(records); err != nil {
		return nil, err
	}
	// Who asked may go: what is kept has to be counted.
	if earlier, err = d.keeper.Put(context.Background(), records, numbered); err != nil || len(earlier) > 0 {
		d.release(records)
		return earlier, err
	}
	d.metrics.kept.Add(float64(len(records)))
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range records {
		d.lookAt(&records[i])
	}
	return nil, nil
}

// putBack puts records of one sender whose outcome was final back in line.
func (d *Delivery) putBack(records []message.Record, before []message.State) error {
	d.steady.RLock()
	defer d.steady.RUnlock()
	if err := d.reserve(records); err != nil {
		return err
	}
	changes := make([]message.Change, len(records))
	for i, r := range records {
		changes[i] = message.Change{Record: r, Before: before[i]}
	}
	applied, err := d.keeper.Settle(context.Background(), changes)
	if err != nil {
		d.release(records)
		return err
	}
	for i := range records {
		d.isBack(&records[i], applied[i])
	}
	return nil
}

// isBack lets the outbox look at a record that is back in line, unless it has gone
// or changed meanwhile.
func (d *Delivery) isBack(r *message.Record, applied bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if applied {
		d.lookAt(r)
		return
	}
	d.count(r, -1)
	if w := d.watchers[r.Seq]; w != nil {
		delete(d.watchers, r.Seq)
		w.told <- message.Outcome{Err: fault.New(fault.Unavailable, "what is known of the message changed meanwhile: try again").MayPass()}
	}
}

// reserve counts records before they are kept, or refuses them all.
func (d *Delivery) reserve(records []message.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.loaded {
		return fault.Wrap(errors.New("delivery: the store was not read yet"), fault.Unavailable, "posthorn cannot keep messages now: try again").MayPass()
	}
	var bytes int64
	for _, r := range records {
		bytes += r.Size
	}
	sender := records[0].From
	var own int64
	if a := d.accounts[sender]; a != nil {
		own = a.bytes
	}
	switch own += bytes; {
	case d.kept+bytes > d.opts.MaxKept:
		return fault.New(fault.Unavailable, "posthorn keeps as many messages as it may (delivery.max_kept): try again later").MayPass()
	case own > d.opts.MaxKept/10:
		return fault.New(fault.Unavailable, "posthorn keeps as many messages of %s as it may (a tenth of delivery.max_kept): try again later", sender).MayPass()
	}
	for _, r := range records {
		d.count(&r, 1)
	}
	return nil
}

func (d *Delivery) release(records []message.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		d.count(&r, -1)
	}
}

// count adds a pending record to its sender's account, or takes it out. The caller
// holds mu.
func (d *Delivery) count(r *message.Record, n int) {
	a := d.account(r.From)
	a.records += n
	a.bytes += int64(n) * r.Size
	d.kept += int64(n) * r.Size
	if r.State == message.Queued && !d.shared() {
		d.line(a, r.To, n)
	}
	if a.records == 0 && !d.shared() {
		d.leavePage(a)
		delete(d.accounts, r.From)
	}
}

// account gives the account of a sender, which may be new. The caller holds mu.
func (d *Delivery) account(sender message.JID) *account {
	a := d.accounts[sender]
	if a == nil {
		a = &account{lines: make(map[message.JID]int)}
		d.accounts[sender] = a
	}
	return a
}

// line counts records that enter or leave the line. The caller holds mu.
func (d *Delivery) line(a *account, to message.JID, n int) {
	d.inLine.Add(int64(n))
	if a.lines[to] += n; a.lines[to] == 0 {
		delete(a.lines, to)
	}
}

// lookAt lets the outbox look at a record, if that is in line. The caller holds
// mu.
func (d *Delivery) lookAt(r *message.Record) {
	if r.State == message.Queued && (d.accounts[r.From] != nil || d.shared()) {
		d.lookFrom(d.account(r.From), r.Seq)
	}
}

// lookFrom lets the outbox look at what is in an account's line from there on. The
// caller holds mu.
func (d *Delivery) lookFrom(a *account, seq int64) {
	a.look = true
	a.cursor = min(a.cursor, seq-1)
	a.newcomer = min(a.newcomer, seq)
	notify(d.work)
}

// leavePage lets the outbox read the line of an account anew before it hands over
// more of it. The caller holds mu.
func (d *Delivery) leavePage(a *account) {
	a.look, a.inHand = true, false
}

// reload counts anew what is kept.
func (d *Delivery) reload(ctx context.Context) error {
	if !d.shared() { // others write at any time: a count is never exact, and nobody waits for it
		d.steady.Lock()
		defer d.steady.Unlock()
	}
	piles, last, err := d.keeper.Tally(ctx)
	if err != nil {
		return err
	}
	for newest := d.last.Load(); newest < last && !d.last.CompareAndSwap(newest, last); newest = d.last.Load() {
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.accounts
	d.accounts, d.kept = make(map[message.JID]*account), 0
	d.inLine.Store(0)
	for _, p := range piles {
		if p.State.Pending() {
			d.addPile(p)
		}
	}
	d.keepLooking(before)
	d.renewed = d.renewed || !d.loaded // the streams of an earlier process have ended
	d.loaded = true
	notify(d.work)
	notify(d.settle)
	return nil
}

// addPile counts what reload has found. The caller holds mu.
func (d *Delivery) addPile(p message.Pile) {
	a := d.account(p.From)
	a.look = true
	a.records += p.Count
	a.bytes += p.Size
	d.kept += p.Size
	if p.State == message.Queued && !d.shared() {
		d.line(a, p.To, p.Count)
	}
}
