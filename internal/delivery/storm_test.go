package delivery

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

var (
	seed  = flag.Uint64("storm.seed", 0, "the storm of this seed alone")
	seeds = flag.Uint64("storm.seeds", 12, "how many storms")
)

// TestStorm: whatever happens to the stream, the disk and the process, and in
// whatever order, each answer is true, nothing acknowledged is lost or expires
// unseen, nothing that was not on a stream that ended is received twice, each
// recipient gets a sender's messages in order, and a message corrects none but one
// from its sender to its recipient about the same.
//
// go test -run TestStorm ./internal/delivery -storm.seed N repeats the storm that
// failed, as far as goroutines let it.
func TestStorm(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, seed, 1) })
		})
	}
}

// TestSharedStorm is TestStorm of several posthorns that share a disk. Any of them may
// crash, and the one that leads be cut off, or told late that another does.
func TestSharedStorm(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, seed, 3) })
		})
	}
}

const (
	stormClients  = 6
	stormMessages = 150 // of each client
)

// A weather is a storm: what a server, a disk, clients and an administrator do at
// random, and what is known of each message.
type weather struct {
	t      *testing.T
	disk   *table
	shared bool        // by several lives at once
	calm   atomic.Bool // nothing fails any more
	birth  atomic.Bool // a life begins: the disk does not fail

	// How likely things are, of a thousand.
	cuts, bounces, silence, crashes, failures, admins int

	// Guarded by mu.
	mu       sync.Mutex
	random   *rand.Rand
	life     *life             // the one that has the stream, or is about to
	lives    []*life           // all that live
	received []string          // by the server, in this order
	facts    map[string]*facts // by id
	events   int

	corrections int
	meddled     map[message.JID]bool // where the administrator changed the line: for a second it is not known what is in it
}

// A life is a Delivery until it crashes.
type life struct {
	*house
	crashed atomic.Bool
	term    atomic.Int64 // where several share the disk: as Options.Term
}

// facts are what happened to one message.
type facts struct {
	answer    *message.Outcome // the last that its sender got, nil: none
	key       bool
	from, to  message.JID
	update    string // what it is about; "": nothing
	fresh     bool
	twice     bool // may be received again: it was on a stream that ended, or a crash forgot its outcome
	passed    bool // bounced, or a room was silent: others may pass it
	dropped   bool // by the administrator
	delivered int  // times
	story     []string
}

func storm(t *testing.T, seed uint64, posts int) {
	t.Logf("seed %d", seed)
	keeper := newMemory()
	w := &weather{t: t, shared: posts > 1, disk: keeper.table, random: rand.New(rand.NewPCG(seed, 0)), facts: make(map[string]*facts), meddled: make(map[message.JID]bool)}
	w.cuts, w.bounces, w.silence = w.below(20), w.below(100), w.below(20)
	w.crashes, w.failures, w.admins = w.below(8), w.below(200), 0
	if w.disk.shared = w.shared; w.shared {
		w.disk.spread = w.spread
		w.disk.held = func() bool { return w.chance(100) }
		w.disk.putting = func([]message.Record) {
			for range w.below(100) {
				runtime.Gosched() // others get a number, and are there before
			}
		}
	}
	if w.below(2) == 0 {
		w.disk.latency = func() time.Duration {
			if w.birth.Load() {
				return 0
			}
			return time.Duration(w.below(int(20 * time.Millisecond)))
		}
	} else if !w.shared { // reload waits for who writes, and a bubble's clock does not wait for a lock
		w.admins = w.below(20)
	}
	w.disk.refuse = func() bool { return !w.birth.Load() && w.chance(w.failures) }
	for range posts {
		w.begin(keeper)
		keeper = keeper.another()
	}
	w.lead()
	var clients, world sync.WaitGroup
	over, end := context.WithCancel(context.Background())
	world.Go(func() { w.serve(over) })
	world.Go(func() { w.meddle(over) })
	orders := make([][]string, stormClients)
	for n := range stormClients {
		clients.Go(func() { orders[n] = w.client(n) })
	}
	clients.Wait()
	w.calmDown()
	end()
	world.Wait()
	for _, l := range w.lives {
		l.stop()
	}
	w.judge(orders)
}

// below is a random number.
func (w *weather) below(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

// chance is true n times of a thousand, while the storm lasts.
func (w *weather) chance(n int) bool { return !w.calm.Load() && w.below(1000) < n }

func (w *weather) about(id string) *facts {
	if w.facts[id] == nil {
		w.facts[id] = &facts{}
	}
	return w.facts[id]
}

// note changes what is known of a message.
func (w *weather) note(id string, change func(*facts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w.about(id))
}

// begin starts a Delivery on what is committed. It is used once that is read, since
// the clock of a bubble does not wait for locks.
func (w *weather) begin(k *memory) {
	w.birth.Store(true)
	defer w.birth.Store(false)
	w.disk.fail("*", false)
	l := &life{}
	l.house = build(w.t, k, func(o *Options, s *stream) {
		o.MaxKept = 10 << 20
		s.trace = w.trace
		s.keptFirst = func() bool { return w.below(2) == 0 }
		if w.shared {
			s.up = false
			o.Term, o.Flows = l.term.Load, func() bool { return w.now().stream.Up() }
		}
	})
	time.Sleep(2 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives = append(w.lives, l)
	if !w.shared || w.life == nil {
		w.life = l
	}
}

// lead gives the lease, and the stream, to the one whose turn it is.
func (w *weather) lead() {
	if !w.shared {
		return
	}
	l := w.now()
	w.disk.set(func(k *table) { k.term++; l.term.Store(k.term) })
	l.stream.connect()
}

// some is one that lives.
func (w *weather) some() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[w.random.IntN(len(w.lives))]
}

// next makes another the one whose turn it is.
func (w *weather) next() {
	l := w.some()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life = l
}

// spread tells the others what one has written, sooner or later, or not at all: then
// others may pass what was put back in line.
func (w *weather) spread(k *memory, again bool, changed []message.Record) {
	w.mu.Lock()
	lives := slices.Clone(w.lives)
	w.mu.Unlock()
	for _, l := range lives {
		switch {
		case l.keeper == k:
		case w.chance(100):
			for _, r := range changed {
				w.note(r.ID, func(f *facts) { f.passed = f.passed || again })
			}
		default:
			time.AfterFunc(time.Duration(w.below(int(5*time.Millisecond))), func() { hear(l, changed) })
		}
	}
}

func hear(l *life, changed []message.Record) {
	for _, r := range changed {
		if r.State == message.Queued {
			l.Arrived(r.From, r.Seq)
		} else {
			l.Settled([]int64{r.Seq})
		}
	}
}

// usurp lets another lead, whatever the one that does knows of it.
func (w *weather) usurp() {
	old := w.now()
	old.stream.write(w.below(100))
	w.processSome(old)
	w.noteReceived()
	old.stream.mu.Lock()
	for _, i := range old.stream.written { // the server has closed that connection
		i.outcome = &message.Outcome{Err: cutOff()}
	}
	old.stream.mu.Unlock()
	end := func() {
		old.term.Store(0)
		if w.below(2) == 0 {
			time.Sleep(time.Duration(w.below(int(5 * time.Second))))
		}
		old.stream.cut(false)
	}
	w.next()
	if old == w.now() || w.below(2) == 0 {
		end() // it was released, or its end was waited for
	} else {
		go end()
	}
	time.Sleep(time.Duration(w.below(int(6 * time.Second))))
	w.lead()
}

// noteReceived lets all that is in line be received twice that was received before.
func (w *weather) noteReceived() {
	pending := w.pending()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range pending {
		f := w.about(r.ID)
		f.twice = f.twice || slices.Contains(w.received, r.ID)
	}
}

// trace adds to what is told of a message when something is wrong with it.
func (w *weather) trace(id, what string) {
	w.note(id, func(f *facts) {
		w.events++
		if what == "received" {
			w.received = append(w.received, id)
		}
		f.story = append(f.story, fmt.Sprintf("%s #%d %s", time.Now().Format("04:05.000"), w.events, what))
	})
}

func (w *weather) now() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.life
}

// crash ends a Delivery as kill -9 does.
func (w *weather) crash() {
	l, leader := w.some(), w.now()
	l.crashed.Store(true)
	l.stream.giveUp()
	k := l.keeper.die()
	if l == leader {
		w.processSome(l)
		for _, r := range w.pending() {
			w.note(r.ID, func(f *facts) { f.twice = true })
		}
	}
	go l.stop()
	w.begin(k)
	w.mu.Lock()
	w.lives = slices.DeleteFunc(w.lives, func(other *life) bool { return other == l })
	w.mu.Unlock()
	if l == leader {
		w.next()
		w.lead()
	}
}

// serve is the server, and what ends lives.
func (w *weather) serve(over context.Context) {
	for over.Err() == nil {
		time.Sleep(time.Duration(w.below(int(30 * time.Millisecond))))
		switch {
		case w.chance(5):
			time.Sleep(time.Duration(w.below(int(12 * time.Second)))) // confirms nothing in time
		case w.chance(w.crashes):
			w.crash()
		case w.shared && w.chance(w.cuts):
			w.usurp()
		case w.chance(w.cuts):
			w.cut()
		}
		l := w.now()
		l.stream.write(w.below(100))
		w.process(l)
		w.confirm(l)
		if w.calm.Load() {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// process lets the server process some of what is written.
func (w *weather) process(l *life) {
	l.stream.mu.Lock()
	written := slices.Clone(l.stream.written)
	l.stream.mu.Unlock()
	for _, i := range written {
		if i.processed || i.outcome != nil {
			continue
		}
		w.checkUpdate(i.m)
		switch {
		case w.chance(100):
			return // no further
		case w.chance(w.bounces):
			w.bounce(l, i)
		default:
			w.take(l, i)
		}
	}
}

// checkUpdate looks at what a message corrects.
func (w *weather) checkUpdate(m *message.Message) {
	if m.Replace == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corrections++
	f, old := w.about(m.ID), w.about(m.Replace)
	if f.update == "" || f.fresh || m.Replace == m.ID || old.update != f.update || old.from != f.from || old.to != f.to {
		w.t.Errorf("%s corrects %s: %+v, %+v", m.ID, m.Replace, *f, *old)
	}
}

// bounce refuses a message, at once and not when its barrier returns.
func (w *weather) bounce(l *life, i *item) {
	f := fault.New([]fault.Kind{fault.Undeliverable, fault.RemoteFailed, fault.Forbidden, fault.Conflict}[w.below(4)], "bounced")
	if f.Passing = w.below(2) == 0; w.chance(50) {
		f = fault.New(fault.Rejected, "poisoned")
	}
	w.note(i.m.ID, func(f *facts) { f.passed = true })
	l.stream.resolve(i, message.Outcome{Err: f})
}

// take lets the server process a message, which a room may do in silence.
func (w *weather) take(l *life, i *item) {
	if !w.chance(w.silence) {
		l.stream.process(i)
		i.outcome = &message.Outcome{Status: []message.Status{message.Delivered, message.Routed}[w.below(2)]}
		return
	}
	if w.below(2) == 0 {
		l.stream.process(i)
	}
	w.note(i.m.ID, func(f *facts) { f.twice, f.passed = true, true })
	i.outcome = &message.Outcome{Err: fault.New(fault.Unconfirmed, "the room is silent")}
}

// confirm returns some of the barriers.
func (w *weather) confirm(l *life) {
	l.stream.mu.Lock()
	written := slices.Clone(l.stream.written)
	l.stream.mu.Unlock()
	for _, i := range written {
		if i.outcome == nil || w.chance(20) {
			return
		}
		l.stream.resolve(i, *i.outcome)
	}
}

// cut ends the stream, and the server is away for a while.
func (w *weather) cut() {
	l := w.now()
	l.stream.write(w.below(100))
	w.processSome(l)
	l.stream.cut(w.below(2) == 0)
	time.Sleep(time.Duration(w.below(int(2 * time.Second))))
	if !w.calm.Load() && w.below(5) == 0 {
		l.stream.cut(false)
		time.Sleep(time.Duration(w.below(int(10 * time.Second))))
	}
	l.stream.connect()
}

// processSome is what the server does before it hears that the stream has ended.
func (w *weather) processSome(l *life) {
	l.stream.mu.Lock()
	written := slices.Clone(l.stream.written)
	l.stream.mu.Unlock()
	processed := w.below(len(written) + 1)
	for n, i := range written {
		if n < processed && !i.processed && i.outcome == nil {
			l.stream.process(i)
		}
		w.note(i.m.ID, func(f *facts) { f.twice = true })
	}
}

// meddle is the administrator, the disk that fills up for a while, and hosts that
// the component may not speak for.
func (w *weather) meddle(over context.Context) {
	for over.Err() == nil {
		time.Sleep(time.Duration(w.below(int(100 * time.Millisecond))))
		switch {
		case w.chance(w.failures / 20):
			w.disk.fail("*", !w.birth.Load())
			time.Sleep(time.Duration(w.below(int(8 * time.Second))))
			w.disk.fail("*", false)
		case w.chance(5):
			w.mute(fromOf(w.below(stormClients)))
		case w.chance(w.admins):
			w.administer()
		}
	}
}

func (w *weather) mute(sender message.JID) {
	s := w.now().stream
	set := func(mute bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mute[sender] = mute
	}
	set(true)
	time.Sleep(time.Duration(w.below(int(3 * time.Second))))
	set(false)
}

// administer drops or retries something, as cmd does it.
func (w *weather) administer() {
	records := slices.DeleteFunc(w.disk.all(), func(r message.Record) bool { return !r.State.Pending() })
	if len(records) == 0 {
		return
	}
	c := message.Change{Record: records[w.below(len(records))]}
	c.Before = c.State
	if c.State, c.Wake = message.Queued, c.Expires; c.Before == message.Queued || w.below(2) == 0 {
		c.State, c.Wake = message.Expired, time.Now().Add(time.Hour*24)
	}
	w.note(c.ID, func(f *facts) {
		f.twice, f.passed = true, true
		f.dropped = f.dropped || c.State == message.Expired
		w.meddled[c.To] = true
	})
	w.disk.beside(c)
}

func fromOf(client int) message.JID {
	return message.JID(fmt.Sprintf("s%d@example.com", client/2)) // two share an account
}

// client sends one message after the other, and gives their ids in order.
func (w *weather) client(n int) (ids []string) {
	for i := range stormMessages {
		switch w.below(40) {
		case 0:
			time.Sleep(time.Duration(w.below(int(5 * time.Second))))
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
			time.Sleep(time.Duration(w.below(int(50 * time.Millisecond))))
		}
		r := w.request(n, i)
		for _, m := range r.Messages {
			ids = append(ids, m.ID)
			w.note(m.ID, func(f *facts) { f.from, f.to, f.update, f.fresh = m.From, m.To, r.Update, r.Fresh })
		}
		w.ask(r)
	}
	return ids
}

func (w *weather) request(client, i int) (r message.Request) {
	for n := range 1 + w.below(5)/4 {
		to := message.JID(fmt.Sprintf("r%d-%d@example.com", client, (i+w.below(2)+n)%3))
		if n > 0 && to == r.Messages[0].To {
			continue
		}
		m := letter(fromOf(client), to, fmt.Sprintf("%d.%d.%d", client, i, n))
		if w.below(50) == 0 {
			m.TTL = time.Duration(1+w.below(5)) * time.Second
		}
		r.Messages = append(r.Messages, m)
	}
	if w.below(10) < 3 {
		r.Scope, r.Digest = r.Messages[0].ID, "of it"
	}
	if n := w.below(6); n < 3 {
		r.Update, r.Fresh = fmt.Sprint("key ", n), w.below(10) == 0
	}
	return r
}

// ask sends a request; one with a key again until its answer is one that stands.
func (w *weather) ask(r message.Request) {
	for n := 0; ; n++ {
		stands := w.askOnce(r)
		if r.Scope == "" {
			return
		}
		if stands {
			break
		}
		if n == 1000 {
			w.t.Errorf("%s has no answer: %v", r.Scope, w.about(r.Scope).story)
			return
		}
		time.Sleep(time.Duration(w.below(int(2 * time.Second))))
	}
	if w.below(4) == 0 {
		w.askOnce(r)
	}
}

// askOnce reports whether each message was sent or kept, or refused for good.
func (w *weather) askOnce(r message.Request) (stands bool) {
	l := w.some()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	gone := w.chance(10)
	if gone {
		time.AfterFunc(time.Duration(w.below(int(time.Second))), cancel)
	}
	if r.Scope != "" && w.below(20) == 0 {
		go func() { _, _ = l.Deliver(context.WithoutCancel(ctx), r) }()
	}
	outcomes, err := l.Deliver(ctx, copied(r))
	if l.crashed.Load() || ctx.Err() != nil {
		for _, m := range r.Messages {
			w.note(m.ID, func(f *facts) { f.twice = f.twice || l.crashed.Load() })
		}
		return false
	}
	stands = err == nil
	for i, m := range r.Messages {
		o := message.Outcome{Err: err}
		if err == nil {
			o = outcomes[i]
		}
		if o.Err != nil && retryable(o.Err) && w.disk.states()[m.ID] != message.Bounced {
			stands = false
		}
		w.answered(m.ID, r.Scope != "", o)
	}
	return stands
}

// copied is r as another HTTP request would bring it.
func copied(r message.Request) message.Request {
	r.Messages = slices.Clone(r.Messages)
	for i, m := range r.Messages {
		c := *m
		r.Messages[i] = &c
	}
	return r
}

func retryable(err error) bool {
	switch fault.Of(err).Kind {
	case fault.Unavailable, fault.Unconfirmed, fault.RemoteFailed, fault.Internal:
		return true
	}
	return false
}

// answered notes an answer. The later one to the same request is as true.
func (w *weather) answered(id string, key bool, o message.Outcome) {
	w.trace(id, "answered "+describe(o))
	w.note(id, func(f *facts) {
		before := f.answer
		if before != nil && (before.Err == nil || !retryable(before.Err)) && o.Err != nil && fault.Of(o.Err).Kind == fault.Unavailable {
			return // the disk could not be asked
		}
		f.answer, f.key = &o, key
		switch {
		case before == nil || before.Err != nil && retryable(before.Err):
		case before.Err == nil && before.Status == message.Kept: // it may have any outcome since
		case f.dropped, f.twice: // a crash may have come before it was written
		case describe(*before) != describe(o):
			w.t.Errorf("%s was answered %s, and again %s: %v", id, describe(*before), describe(o), f.story)
		}
	})
}

// calmDown ends the storm, and waits until nothing is in line any more.
func (w *weather) calmDown() {
	w.calm.Store(true)
	time.Sleep(time.Minute)
	w.cut() // for what rooms were silent about
	for range 100 {
		time.Sleep(time.Minute)
		if len(w.pending()) == 0 {
			break
		}
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if !w.shared {
		checkBooks(w.t, w.life.house)
	}
	for _, l := range w.lives {
		checkNothingLeft(w.t, l.house)
	}
	for _, r := range w.pending() {
		w.t.Errorf("%s is still %s", r.ID, r.State)
	}
}

func (w *weather) pending() []message.Record {
	return slices.DeleteFunc(w.disk.all(), func(r message.Record) bool { return !r.State.Pending() })
}

// checkBooks compares what a Delivery knows with what is on disk, when nothing
// happens.
func checkBooks(t *testing.T, h *house) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var kept int64
	var inLine int
	lines := make(map[[2]message.JID]int)
	records := make(map[message.JID]int)
	for _, r := range h.keeper.all() {
		if !r.State.Pending() {
			continue
		}
		kept += r.Size
		records[r.From]++
		if r.State == message.Queued {
			inLine++
			lines[[2]message.JID{r.From, r.To}]++
		}
	}
	if h.kept != kept || int(h.inLine.Load()) != inLine || len(h.accounts) != len(records) {
		t.Errorf("counted %d bytes, %d in line, of %d senders; on disk are %d, %d, of %d", h.kept, h.inLine.Load(), len(h.accounts), kept, inLine, len(records))
	}
	for from, a := range h.accounts {
		if a.records != records[from] {
			t.Errorf("counted %d records of %s; on disk are %d", a.records, from, records[from])
		}
		for to, n := range a.lines {
			if n != lines[[2]message.JID{from, to}] {
				t.Errorf("counted %d in line from %s to %s; on disk are %d", n, from, to, lines[[2]message.JID{from, to}])
			}
		}
	}
}

// checkNothingLeft looks whether somebody waits for something that has happened.
func checkNothingLeft(t *testing.T, h *house) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.settled) > 0 || len(h.watchers) > 0 || len(h.calls) > 0 {
		t.Errorf("%d settlements, %d watchers, %d calls are left", len(h.settled), len(h.watchers), len(h.calls))
	}
	if flying := len(h.stream.onStream()); len(h.flights) > flying || len(h.slots) > flying {
		t.Errorf("%d flights, %d slots are left for %d messages on the stream", len(h.flights), len(h.slots), flying)
	}
}

// judge compares answers with what was received.
func (w *weather) judge(orders [][]string) {
	received := w.received
	first, last := make(map[string]int), make(map[string]int)
	for at, id := range received {
		f := w.about(id)
		if f.delivered++; f.delivered == 1 {
			first[id] = at
		}
		last[id] = at
	}
	records := make(map[string]message.Record)
	for _, r := range w.disk.all() {
		records[r.ID] = r
		w.about(r.ID).passed = w.about(r.ID).passed || r.State == message.Expired
	}
	for id, f := range w.facts {
		if wrong := f.wrong(records[id]); wrong != "" {
			w.t.Errorf("%s: %s: %+v, answer %v, record %+v", id, wrong, *f, f.answer, records[id])
		}
	}
	for _, ids := range orders {
		w.inOrder(ids, first, last)
	}
	w.t.Logf("%d messages, received %d times, %d corrections", len(w.facts), len(received), w.corrections)
	if w.corrections == 0 {
		w.t.Error("nothing was corrected")
	}
}

// wrong says what is not as it was answered, or nothing.
func (f *facts) wrong(r message.Record) string {
	final := r.State == message.Bounced || r.State == message.Rejected || r.State == message.Expired
	switch {
	case f.delivered > 1 && !f.twice:
		return "received twice"
	case f.answer == nil:
	case f.answer.Err == nil && f.answer.Status == message.Kept && r.Seq == 0:
		return "kept, and unknown"
	case f.answer.Err == nil && f.answer.Status == message.Kept && final:
	case f.dropped:
	case f.answer.Err == nil && f.delivered == 0:
		return "acknowledged and lost"
	case f.answer.Err == nil, f.twice:
	case fault.Of(f.answer.Err).Kind == fault.Unconfirmed:
	case f.delivered > 0:
		return "refused and received"
	}
	return ""
}

// record is what the disk has of a message.
func (w *weather) record(id string) (r message.Record) {
	for _, r = range w.disk.all() {
		if r.ID == id {
			break
		}
	}
	return r
}

// inOrder looks at a client's messages, each recipient's by itself.
func (w *weather) inOrder(ids []string, first, last map[string]int) {
	newest := make(map[message.JID]string)
	for _, id := range ids {
		f := w.facts[id]
		if f.answer == nil || f.answer.Err != nil || f.passed || f.delivered == 0 || w.meddled[f.to] {
			continue
		}

		if before := newest[f.to]; before != "" && (first[id] < first[before] || last[id] < last[before]) {
			w.t.Errorf("%s (received %d to %d) came before %s (%d to %d):\n%v\n%v\n%+v\n%+v", id, first[id], last[id], before, first[before], last[before], f.story, w.facts[before].story, w.record(id), w.record(before))
		}
		newest[f.to] = id
	}
}
