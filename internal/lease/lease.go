// Package lease decides which of several posthorns that share a database has the stream
// to the XMPP server: the one that holds a lease there. It knows neither the stream nor
// SQL.
//
//  1. Who has no lease reads it each second, or when something was told of it, and takes
//     it when it is nobody's any more (stand.go).
//  2. The holder runs what it was given while it renews the lease, and with it says what
//     its stream is like, for the others to tell (hold.go).
//  3. Whether the lease is held is decided by the holder's own clock alone, which counts
//     from before a statement was sent: so the holder stops before the database lets
//     another begin, also when it hears nothing from the database, and when it was
//     stopped itself and goes on.
//  4. A holder that cannot reach the XMPP server lets another try.
//
// Between the question whether the lease is held and the write that follows it a process
// can be stopped all the same, and a clock can be wrong. Against that stands the term,
// a counter that each holder raises and each claim of a message is checked by, and that
// the XMPP server ends the earlier connection of a component that connects again.
package lease

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"posthorn/internal/message"
)

// Options say whose lease it is.
type Options struct {
	Name    string        // of this posthorn, since it was started: nobody else's
	Stream  func() string // what its own stream is like now: up, down or refused
	Known   func() bool   // the database fails, and somebody else has logged why; nil: never
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// A keeper is the database, by whose clock a lease ends. The package store documents its
// methods. Any of them may do what it was asked for after its context has ended.
type keeper interface {
	ReadLease(ctx context.Context) (message.Lease, error)
	TakeLease(ctx context.Context, holder string, life time.Duration) (lease message.Lease, taken bool, err error)
	RenewLease(ctx context.Context, holder string, term int64, life time.Duration, stream string) (renewed bool, err error)
	ReleaseLease(ctx context.Context, holder string, term int64) error
}

const (
	// life is how long a lease holds unless it is renewed, and so how long nothing is
	// sent when its holder dies. Three renewals fit in.
	life = 5 * time.Second
	// margin is how much sooner the holder takes it to have ended: its clock may be
	// slower than the database's, and what it decides to write has to leave.
	margin     = 250 * time.Millisecond
	renewEvery = 1500 * time.Millisecond
	lookEvery  = time.Second
	retryAfter = 200 * time.Millisecond // what has failed, while the lease runs out

	patience        = 2 * time.Second // with a statement
	releasePatience = time.Second     // the program may be about to end

	// cutAfter is how long the holder's stream may be down. A server that is started
	// again is back sooner, mostly.
	cutAfter = 3 * time.Second
	// standBack is how long who has given the lease up leaves it to others: long enough
	// for them to be told or to look, and shorter than the time that one of them then tries.
	standBack = 2 * time.Second
)

// The words of Stream.
const (
	up   = "up"
	down = "down"
)

// A Lease is the right to use the stream, whether or not this posthorn has it now. Make
// it with New, and give it a goroutine with Run.
type Lease struct {
	opts   Options // immutable after New
	keeper keeper
	clock  func() time.Duration // counts on while the machine sleeps
	takes  prometheus.Counter
	losses prometheus.Counter
	nudges chan struct{} // sent by Nudge; capacity 1, a mark

	grant atomic.Pointer[grant] // what this posthorn has; nil: nothing
	other atomic.Pointer[sight] // what it has last seen of another's

	// Owned by Run.
	downSince time.Time            // when the own stream was first seen down, while the lease is held; zero: it is up
	backUntil time.Time            // the lease is left to others
	turns     bool                 // it was given up, and the stream was not up since
	said      map[string]time.Time // when seldom last logged a line
}

// A grant is a lease that this posthorn has, until a time of its own clock.
type grant struct {
	term  int64
	until time.Duration
}

// A sight is what another's stream is like, which is to be believed until then.
type sight struct {
	stream string
	until  time.Duration
}

// New makes a Lease that is not held.
func New(opts Options, k keeper) *Lease {
	auto := promauto.With(opts.Metrics)
	l := &Lease{
		opts: opts, keeper: k, clock: systemClock(),
		nudges: make(chan struct{}, 1), said: make(map[string]time.Time),
		takes: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_lease_takeovers_total", Help: "Times that this posthorn took the stream over, or took it first.",
		}),
		losses: auto.NewCounter(prometheus.CounterOpts{
			Name: "posthorn_lease_lost_total", Help: "Times that this posthorn lost the stream without giving it up.",
		}),
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "posthorn_lease_held", Help: "1 while this posthorn has the stream; only where several share a database.",
	}, func() float64 { return float64(min(l.Term(), 1)) })
	return l
}

// Held reports whether this posthorn may write to the stream at this moment. It costs
// little more than to read a clock, and is to be asked before each write.
func (l *Lease) Held() bool { return l.Term() != 0 }

// Term is that of the lease that is held; 0: none is.
func (l *Lease) Term() int64 {
	if g := l.grant.Load(); g != nil && l.clock() < g.until {
		return g.term
	}
	return 0
}

// Stream is what the stream of whoever has the lease is like: up, down or refused. While
// nobody is known to have it, it is down.
func (l *Lease) Stream() string {
	if l.Held() {
		return l.opts.Stream()
	}
	if s := l.other.Load(); s != nil && s.stream != "" && l.clock() < s.until {
		return s.stream
	}
	return down
}

// Nudge says that something has changed: this posthorn's own stream, or what another has
// told of the lease. It does not block.
func (l *Lease) Nudge() {
	select {
	case l.nudges <- struct{}{}:
	default: // there is a mark already
	}
}

// Run calls hold whenever this posthorn gets the lease, and ends its context when it
// loses it or when ctx ends. It waits for hold to return, which may go on to write only
// what Held allows, and then lets another have the lease at once.
func (l *Lease) Run(ctx context.Context, hold func(context.Context)) {
	for l.stand(ctx) {
		l.hold(ctx, hold)
	}
}

// wait waits for d, for a nudge or for the end of ctx.
func (l *Lease) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.nudges:
	case <-ctx.Done():
	}
}

// seldom logs what may come again and again, once a minute.
func (l *Lease) seldom(text, key string, value any) {
	if time.Since(l.said[text]) >= time.Minute {
		l.said[text] = time.Now()
		l.opts.Log.Warn(text, key, value)
	}
}
