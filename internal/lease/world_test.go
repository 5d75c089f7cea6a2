package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"posthorn/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a database, an XMPP server and posthorns that share them, in a bubble of
// testing/synctest.
type world struct {
	t      *testing.T
	began  time.Time
	drift  float64      // how much faster than it should the database's clock runs
	deaf   atomic.Bool  // nobody is told what the others do
	behind atomic.Int32 // writes to the XMPP server by somebody whom another had succeeded

	// Guarded by mu.
	mu        sync.Mutex
	posthorns []*posthorn   // changed by the test's own goroutine alone
	jump      time.Duration // by which the database's clock was set
	row       row
	last      int64     // the largest term under which somebody has written to the XMPP server
	quiet     time.Time // since when there was no new trouble; zero: there is more to come
}

var errFull = errors.New("store: the disk is full")

// A row is the lease as the database has it.
type row struct {
	holder, stream string
	term           int64
	expires        time.Duration // by the database's clock
}

// trouble is what is wrong with one posthorn. Its zero value is nothing.
type trouble struct {
	silent  bool                 // the database is not heard, and does not hear
	fails   error                // what the database answers to everything
	delay   func() time.Duration // each way to the database
	late    bool                 // what did not get there in time gets there nevertheless
	cut     bool                 // the XMPP server is away
	refused bool                 // the XMPP server says no
	frozen  chan struct{}        // closed when it is not stopped any more; nil: it is not
	linger  time.Duration        // before its component returns
}

// A posthorn is one instance: a Lease, and what it runs while that is held.
type posthorn struct {
	*Lease
	w     *world
	name  string
	drift float64      // how much faster than it should its clock runs
	runs  atomic.Int32 // of its component
	log   *safeBuffer
	end   func() // as SIGTERM does
	done  chan struct{}
	quit  func() // makes the component return though nobody has asked for it; guarded by w.mu

	// Guarded by w.mu.
	trouble   trouble
	working   bool
	connected bool
}

type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// within gives f a world with so many posthorns, named a, b, c.
func within(t *testing.T, posthorns int, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, began: time.Now()}
		defer w.stop()
		for i := range posthorns {
			w.add(string(rune('a'+i)), trouble{}, 0)
		}
		f(t, w)
	})
}

// add starts one more posthorn.
func (w *world) add(name string, is trouble, drift float64) *posthorn {
	p := w.begin(name, is, drift)
	w.mu.Lock()
	w.posthorns = append(w.posthorns, p)
	w.mu.Unlock()
	return p
}

// begin starts a posthorn, and waits until it has looked for the first time.
func (w *world) begin(name string, is trouble, drift float64) *posthorn {
	p := &posthorn{w: w, name: name, trouble: is, drift: drift, log: new(safeBuffer), done: make(chan struct{})}
	p.Lease = New(Options{
		Name: name, Stream: p.stream, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
	}, p)
	p.Lease.clock = p.clock
	var ctx context.Context
	ctx, p.end = context.WithCancel(w.t.Context())
	go func() {
		defer close(p.done)
		p.Run(ctx, p.component)
	}()
	synctest.Wait()
	return p
}

func (w *world) stop() {
	for _, p := range w.posthorns {
		p.be(trouble{})
		p.end()
	}
	for _, p := range w.posthorns {
		<-p.done
	}
	time.Sleep(time.Minute) // what is late arrives
	if n := w.behind.Load(); n != 0 {
		w.t.Errorf("%d writes to the XMPP server after those of a later holder", n)
	}
}

// held are those who may write now, of those who are not stopped.
func (w *world) held() (holders []*posthorn) {
	w.mu.Lock()
	posthorns := slices.Clone(w.posthorns)
	w.mu.Unlock()
	for _, p := range posthorns {
		if p.is().frozen == nil && p.Held() {
			holders = append(holders, p)
		}
	}
	return holders
}

// holders are their names.
func (w *world) holders() (names string) {
	for _, p := range w.held() {
		names += p.name
	}
	return names
}

// be puts the posthorn into that trouble, and out of what it was in.
func (p *posthorn) be(next trouble) {
	p.w.mu.Lock()
	before := p.trouble
	p.trouble = next
	p.w.mu.Unlock()
	if before.frozen != nil {
		close(before.frozen)
	}
	if before.cut != next.cut || before.refused != next.refused {
		p.Nudge()
	}
}

func (p *posthorn) freeze() { p.be(trouble{frozen: make(chan struct{})}) }

func (p *posthorn) is() trouble {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.trouble
}

// clock is the posthorn's own. Who is stopped does not get beyond reading it.
func (p *posthorn) clock() time.Duration {
	for frozen := p.is().frozen; frozen != nil; frozen = p.is().frozen {
		<-frozen
	}
	return time.Duration(float64(time.Since(p.w.began)) * (1 + p.drift))
}

// stream is what the component says of itself.
func (p *posthorn) stream() string {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	switch {
	case p.trouble.refused:
		return "refused"
	case p.connected && !p.trouble.cut:
		return up
	}
	return down
}

// component is what runs while the lease is held: it connects, writes all the time, and
// goes on with that for a while when it is to end.
func (p *posthorn) component(ctx context.Context) {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	p.started(quit)
	defer p.ended()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ctx.Err() == nil; <-tick.C {
		p.connect(began)
		p.write()
	}
	for ended := time.Now(); time.Since(ended) < p.is().linger; <-tick.C {
		p.write()
	}
}

func (p *posthorn) started(quit func()) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.working {
		p.w.t.Errorf("%s: the component runs twice", p.name)
	}
	p.working, p.quit = true, quit
	p.runs.Add(1)
}

func (p *posthorn) ended() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.working, p.connected = false, false
}

// connect takes a third of a second.
func (p *posthorn) connect(began time.Time) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if !p.connected && !p.trouble.cut && !p.trouble.refused && time.Since(began) > time.Second/3 {
		p.connected = true
		p.Nudge()
	}
}

// write writes to the XMPP server, which must not hear anybody after a later holder.
func (p *posthorn) write() {
	term := p.Term()
	if term == 0 {
		return
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if term < p.w.last {
		p.w.behind.Add(1)
	}
	p.w.last = max(p.w.last, term)
}

// ask has a statement done by the database, and all that can go wrong with that.
func (p *posthorn) ask(ctx context.Context, do func()) error {
	is := p.is()
	switch {
	case is.silent:
		<-ctx.Done()
	case is.fails != nil:
		return is.fails
	case is.delay == nil:
		do()
	default:
		p.askSlowly(ctx, is, do)
	}
	return ctx.Err()
}

func (p *posthorn) askSlowly(ctx context.Context, is trouble, do func()) {
	there, back := is.delay(), is.delay()
	timer := time.NewTimer(there)
	defer timer.Stop()
	began := time.Now()
	select {
	case <-timer.C:
		do()
		sleep(ctx, back)
	case <-ctx.Done():
		if is.late {
			time.AfterFunc(there-time.Since(began), do)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// now is the database's clock.
func (w *world) now() time.Duration {
	return time.Duration(float64(time.Since(w.began))*(1+w.drift)) + w.jump
}

// tell is the notification that goes to the others.
func (w *world) tell(from *posthorn) {
	for _, p := range w.posthorns {
		if p != from && !p.trouble.silent && !w.deaf.Load() {
			time.AfterFunc(5*time.Millisecond, p.Nudge)
		}
	}
}

func (w *world) lease() message.Lease {
	if w.row.term == 0 {
		return message.Lease{}
	}
	return message.Lease{Holder: w.row.holder, Term: w.row.term, Left: w.row.expires - w.now(), Stream: w.row.stream}
}

func (p *posthorn) ReadLease(ctx context.Context) (message.Lease, error) {
	var lease message.Lease
	err := p.ask(ctx, func() {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		lease = p.w.lease()
	})
	if err != nil { // it may be done later
		return message.Lease{}, err
	}
	return lease, nil
}

func (p *posthorn) TakeLease(ctx context.Context, holder string, life time.Duration) (message.Lease, bool, error) {
	var lease message.Lease
	var free bool
	err := p.ask(ctx, func() {
		w := p.w
		w.mu.Lock()
		defer w.mu.Unlock()
		if free = w.row.holder == "" || w.row.expires <= w.now(); free {
			w.row = row{holder: holder, term: w.row.term + 1, expires: w.now() + life}
			w.tell(p)
		}
		lease = w.lease()
	})
	if err != nil {
		return message.Lease{}, false, err
	}
	return lease, free, nil
}

func (p *posthorn) RenewLease(ctx context.Context, holder string, term int64, life time.Duration, stream string) (bool, error) {
	var ours bool
	err := p.ask(ctx, func() {
		w := p.w
		w.mu.Lock()
		defer w.mu.Unlock()
		if ours = w.row.holder == holder && w.row.term == term; !ours {
			return
		}
		if w.row.stream != stream {
			w.tell(p)
		}
		w.row.stream, w.row.expires = stream, w.now()+life
	})
	if err != nil {
		return false, err
	}
	return ours, nil
}

func (p *posthorn) ReleaseLease(ctx context.Context, holder string, term int64) error {
	return p.ask(ctx, func() {
		w := p.w
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.row.holder == holder && w.row.term == term {
			w.row.holder, w.row.stream, w.row.expires = "", "", w.now()
			w.tell(p)
		}
	})
}
