// Package delivery decides about each message: hand it over to the XMPP server now,
// or keep it; and it sees to it that whatever was kept is sent or expires visibly.
//
// The way of a message:
//
//  1. While the stream is up and nothing else from this sender to this recipient
//     is in line, it is handed over, and its sender waits for what becomes of it.
//     So in quiet times nothing touches the disk (hand.go).
//  2. If it could not be sent, or its outcome is not known in time, or it bounced
//     for a reason that may pass, it is kept, and only then answered "queued"
//     (keep.go). So is one that has to wait in line, and one with an idempotency
//     key, before it is sent (once.go); while the stream is up their senders wait
//     for the outcome all the same.
//  3. The outbox hands over what is in line, in the order of acceptance, many at a
//     time, since the stream keeps order (outbox.go). What was on a stream that
//     ended goes back in line; what bounced for a reason that may pass leaves the
//     line until its next try.
//  4. Outcomes are written, many at a time, and only then told (settle.go).
//  5. A message about something of which its recipient knows corrects the earlier one
//     (update.go).
//
// Several posthorns may share a keeper, of which one has the stream (share.go). Then
// every message is kept, and steps 1 and 2 are those of one that waits in line.
//
// It knows neither XMPP nor SQL: a sender and a keeper are what it is given. Without
// a keeper nothing is kept, and messages are only handed over.
package delivery

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/message"
)

// Options say how long to wait, and what to keep.
type Options struct {
	ConfirmTimeout time.Duration // how long a sender waits for an outcome
	Keep           time.Duration // how long a message is tried
	MaxKept        int64         // bytes of messages, a tenth of it for one sender
	Remember       time.Duration // how long an outcome is known
	Up             func() bool   // whether there is a stream now
	// Where several posthorns share the keeper, else nil: the term of the lease under
	// which this one has the stream, 0 while it has not; and whether any has one.
	Term  func() int64
	Flows func() bool

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// A sender puts messages on the stream. The package component documents Submit
// and Fits.
type sender interface {
	Submit(m *message.Message, told func(message.Status, error)) (withdraw func() bool, err error)
	Fits(m *message.Message) error
}

// A keeper is the database. The package store documents its methods.
type keeper interface {
	Put(ctx context.Context, records []message.Record, numbered func()) (earlier []message.Record, err error)
	Settle(ctx context.Context, changes []message.Change) (applied []bool, err error)
	Select(ctx context.Context, q message.Query) ([]message.Record, error)
	Claim(ctx context.Context, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error)
	StopWaiting(ctx context.Context, seqs []int64) ([]message.Record, error)
	Forget(ctx context.Context, now time.Time, keep int) (removed int, err error)
	Tally(ctx context.Context) (piles []message.Pile, last int64, err error)
	Changed(ctx context.Context) (bool, error)
	Originals(ctx context.Context, from message.JID, to []message.JID, key string, now time.Time) (ids []string, err error)
	KeepOriginals(ctx context.Context, originals []message.Original) error
}

// A Delivery delivers messages. Make it with New, and give it a goroutine with Run.
type Delivery struct {
	opts    Options // immutable after New
	sender  sender
	keeper  keeper // nil: nothing is kept
	metrics *metrics

	last    atomic.Int64 // the newest Seq
	inLine  atomic.Int64 // records in line, of everybody
	streams atomic.Int64 // how many there were
	timers  sync.Pool    // of *time.Timer, not running: each message needs one

	work     chan struct{} // there may be something to hand over; capacity 1, a mark
	settle   chan struct{} // there is something to settle; capacity 1, a mark
	landings chan struct{} // something is not on the stream any more; capacity 1, a mark
	slots    chan struct{} // holds one for each record that the outbox has handed over and not settled
	stale    chan struct{} // what is kept has to be counted anew; capacity 1, a mark
	news     chan struct{} // others have written outcomes; capacity 1, a mark

	// Held for reading from before a write until what mu guards agrees with it;
	// for writing while that is counted anew.
	steady sync.RWMutex

	// Guarded by mu.
	mu       sync.Mutex
	loaded   bool                     // the accounts are those of the keeper
	kept     int64                    // bytes of what is pending, of everybody
	accounts map[message.JID]*account // by sender, of those who have something pending
	flights  map[int64]struct{}       // Seq of the records that the stream has
	watchers map[int64]*watcher       // by Seq
	settled  []settlement             // to be written, in this order
	renewed  bool                     // there is a new stream since it was last looked at
	begins   bool                     // what was on an earlier stream may not be settled yet
	calls    map[string]*call         // requests with an idempotency key under way, by Scope
	heard    map[int64]struct{}       // Seq of records that are waited for, and to be asked about
}

// window is how many messages the outbox has on the stream at once: enough to
// keep the server busy, and little enough for a fresh message to wait behind.
const window = 512

// New makes a Delivery that hands over to s and keeps with k, which may be nil.
func New(opts Options, s sender, k keeper) *Delivery {
	d := &Delivery{
		opts: opts, sender: s, keeper: k,
		work:     make(chan struct{}, 1),
		settle:   make(chan struct{}, 1),
		landings: make(chan struct{}, 1),
		slots:    make(chan struct{}, window),
		stale:    make(chan struct{}, 1),
		news:     make(chan struct{}, 1),
		accounts: make(map[message.JID]*account),
		flights:  make(map[int64]struct{}),
		watchers: make(map[int64]*watcher),
		calls:    make(map[string]*call),
		heard:    make(map[int64]struct{}),
		timers:   sync.Pool{New: func() any { return time.NewTimer(time.Hour) }},
	}
	d.metrics = newMetrics(opts.Metrics, d)
	return d
}

// Open reads what is kept. It may be called again, and Run does so in any case.
func (d *Delivery) Open(ctx context.Context) error {
	if d.keeper == nil {
		return nil
	}
	return d.reload(ctx)
}

// Run hands over what is kept until ctx ends, and then waits for what is on the
// stream, no longer than the confirm timeout. Neither the stream nor the store may
// end before it.
func (d *Delivery) Run(ctx context.Context) {
	if d.keeper == nil {
		<-ctx.Done()
		return
	}
	settling, stop := context.WithCancel(context.WithoutCancel(ctx))
	var settled, running sync.WaitGroup
	settled.Go(func() { d.settleAll(settling) })
	running.Go(func() { d.drain(ctx) })
	running.Go(func() { d.sweep(ctx) })
	if d.shared() {
		running.Go(func() { d.learn(ctx) })
	}
	running.Wait()
	d.Land()
	stop()
	settled.Wait()
}

// Land waits until all is written that has become of what was kept and handed over, no
// longer than the confirm timeout.
func (d *Delivery) Land() {
	timeout := time.NewTimer(d.opts.ConfirmTimeout)
	defer timeout.Stop()
	for d.flying() {
		select {
		case <-d.landings:
		case <-timeout.C:
			return
		}
	}
}

func (d *Delivery) flying() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.flights) > 0
}

// StreamChanged is to be called when Up may have changed. It does not block.
func (d *Delivery) StreamChanged() {
	if d.opts.Up() {
		d.streams.Add(1)
		d.mu.Lock()
		d.renewed, d.begins = true, d.shared()
		d.mu.Unlock()
		notify(d.settle)
		notify(d.work)
		if d.shared() { // others have been at it
			notify(d.stale)
		}
	}
}

// Deliver delivers the messages of one request, all at once, and gives what
// became of each, in their order. The error, a *fault.Error, is of the request as
// a whole: nothing of it was sent or kept.
func (d *Delivery) Deliver(ctx context.Context, r message.Request) ([]message.Outcome, error) {
	if r.Scope != "" && d.keeper != nil {
		return d.once(ctx, r)
	}
	if err := d.complete(ctx, r); err != nil {
		return nil, err
	}
	messages := d.amended(r)
	outcomes := d.handAll(ctx, messages)
	d.remember(r.Update, messages, outcomes)
	return outcomes, nil
}

// handAll is hand for several messages at once.
func (d *Delivery) handAll(ctx context.Context, messages []*message.Message) []message.Outcome {
	if len(messages) == 1 {
		return []message.Outcome{d.hand(ctx, messages[0])}
	}
	outcomes := make([]message.Outcome, len(messages))
	var under sync.WaitGroup
	for i, m := range messages {
		under.Go(func() { outcomes[i] = d.hand(ctx, m) })
	}
	under.Wait()
	return outcomes
}

// complete has the messages of a request completed, unless they are too large as they are.
func (d *Delivery) complete(ctx context.Context, r message.Request) error {
	if r.Prepare == nil {
		return nil
	}
	for _, m := range r.Messages {
		if err := d.sender.Fits(m); err != nil {
			return err
		}
	}
	return r.Prepare(ctx)
}

// Find gives what is known of the messages that a sender has sent with an id, one
// for each recipient, the newest; none is no error.
func (d *Delivery) Find(ctx context.Context, sender message.JID, id string) (found []message.Record, err error) {
	if d.keeper == nil {
		return nil, nil
	}
	records, err := d.keeper.Select(ctx, message.Query{From: sender, ID: id, Newest: true, Limit: maxFound})
	seen := make(map[message.JID]bool)
	for _, r := range records {
		if !seen[r.To] && r.State != message.Failed {
			found = append(found, r)
		}
		seen[r.To] = true
	}
	return found, err
}

// maxFound bounds what is read of one id: twice what one request can send.
const maxFound = 200

// Overview gives how much is kept, and the newest records of a sender, at most so many
// and none while the store fails. What was neither sent nor kept is not among them.
func (d *Delivery) Overview(ctx context.Context, sender message.JID, newest int) (o message.Overview) {
	if d.keeper == nil {
		return o
	}
	o.Kept, _ = d.depth()
	o.Own = d.ownDepth(sender)
	records, _ := d.keeper.Select(ctx, message.Query{From: sender, Newest: true, Limit: newest})
	o.Newest = slices.DeleteFunc(records, func(r message.Record) bool { return r.State == message.Failed })
	return o
}

// record makes what would be kept of m.
func (d *Delivery) record(m *message.Message, seq int64) message.Record {
	r := message.Record{
		Seq: seq, Accepted: time.Unix(0, seq), From: m.From, To: m.To, ID: m.ID, Message: m,
		State: message.Queued, Size: sizeOf(m),
	}
	r.Expires = r.Accepted.Add(d.life(m))
	r.Wake = r.Expires
	return r
}

// life is how long m is tried.
func (d *Delivery) life(m *message.Message) time.Duration {
	if m.TTL > 0 {
		return min(m.TTL, d.opts.Keep)
	}
	return d.opts.Keep
}

// overhead is what a record takes beside its texts, indexes included, in bytes.
const overhead = 1024

func sizeOf(m *message.Message) int64 {
	return overhead + int64(len(m.Body)+len(m.Subject)+len(m.HTML)+len(m.OOB.URL)+len(m.OOB.Desc))
}

// next is the time, made later than any before.
func (d *Delivery) next() int64 {
	for {
		last := d.last.Load()
		next := max(time.Now().UnixNano(), last+1)
		if d.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// notify leaves a mark in a channel of capacity 1.
func notify(mark chan<- struct{}) {
	select {
	case mark <- struct{}{}:
	default:
	}
}
