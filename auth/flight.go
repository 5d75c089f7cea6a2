package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"posthorn/internal/message"
)

const (
	// probeTimeout bounds a probe, its waiting for a turn included.
	probeTimeout = 10 * time.Second
	// maxProbes at a time for one host: a listener's backlog may be 5, and each
	// costs the server a TLS handshake.
	maxProbes = 16
	// maxAccountProbes keeps wrong passwords for one account, from wherever
	// they come, from taking every turn.
	maxAccountProbes = 2
	// reservedProbes of a host's turns, and one of an account's, are for networks
	// from which no wrong password came lately.
	reservedProbes = 4
	// maxAccountWaiting and maxWaiting bound the goroutines that wait for a
	// turn, for one account and one host. More for one account would not have
	// theirs within probeTimeout, two at a time of turnStep each.
	maxAccountWaiting = 256
	maxWaiting        = 1024
	// A refused probe keeps its turn for a multiple of turnStep. Else those who
	// queue for an account that does not exist, which takes the server less
	// time to refuse, would be done earlier, and the sum of many turns shows
	// what refusalStep hides of one.
	turnStep = 50 * time.Millisecond
)

// flights are the probes under way for one host: one that is silent takes no
// turns from the others. Those who ask the same thing at the same
// time share one probe, and it outlives any of them. (x/sync/singleflight
// does not tell when its goroutine has ended, and close has to.)
//
// Who waits for a turn waits in the order of what is owed for wrong passwords: one
// who guesses comes after one who does not, however many guesses there are and
// from however many networks, and makes room for them where there is none left.
type flights struct {
	ctx      context.Context // ends with close
	stop     context.CancelFunc
	running  sync.WaitGroup
	throttle *throttle
	silence  silence

	mu       sync.Mutex // guards what follows
	shared   map[fingerprint]*flight
	waiting  []*flight // those of shared that have no turn, in the order in which they came
	flying   int       // those that have one
	accounts map[message.JID]*traffic
	networks map[network]int // flights from each
}

// traffic is what one account has under way.
type traffic struct {
	flights int // waiting and flying
	flying  int
}

// A ticket is what a flight's turn depends on.
type ticket struct {
	account message.JID
	mac     fingerprint
	from    network
	likely  bool // the password was right lately
	free    bool // it is not counted as a guess
	exempt  bool // it is asked about whoever has guessed
}

// A flight is one probe. Its err is written before done is closed.
type flight struct {
	ticket
	turn chan error // gets one: nil to fly, or why not; capacity 1, so that who sends never waits
	done chan struct{}
	err  error
}

func newFlights(t *throttle) *flights {
	f := &flights{
		throttle: t,
		shared:   map[fingerprint]*flight{},
		accounts: map[message.JID]*traffic{},
		networks: map[network]int{},
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

func (f *flights) close() {
	f.stop()
	f.running.Wait()
}

// share gives the result of probe, which may be one that another has started.
// When ctx ends, the caller goes and the probe stays.
func (f *flights) share(ctx context.Context, t ticket, probe func(context.Context) error) error {
	it, err := f.join(t, probe)
	if err != nil {
		return err
	}
	select {
	case <-it.done:
		return it.err
	case <-ctx.Done():
		return &ProbeError{Timeout, "", ctx.Err()}
	}
}

func (f *flights) join(t ticket, probe func(context.Context) error) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if it, found := f.shared[t.mac]; found {
		return it, nil
	}
	if err := f.allow(t); err != nil {
		return nil, err
	}
	if !f.makeRoom(t) {
		return nil, &ProbeError{Busy, "", errQueueFull}
	}
	it := &flight{ticket: t, turn: make(chan error, 1), done: make(chan struct{})}
	f.enter(it)
	if f.mayFly(t) {
		f.launch(it)
	} else {
		f.waiting = append(f.waiting, it)
	}
	f.running.Go(func() {
		it.err = f.fly(it, probe)
		close(it.done)
	})
	return it, nil
}

// fly waits for the flight's turn, and lands.
func (f *flights) fly(it *flight, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(f.ctx, probeTimeout)
	defer cancel()
	var err error
	select {
	case err = <-it.turn:
	case <-ctx.Done():
		f.dismiss(it, &ProbeError{Busy, "", ctx.Err()})
		err = <-it.turn
	}
	if err != nil {
		f.leave(it, false)
		return err
	}
	defer f.leave(it, true)
	began := time.Now()
	err = probe(ctx)
	f.silence.note(ctx, began, err)
	if !it.free {
		f.judge(it, err)
	}
	if errors.Is(err, errRefused) {
		waitForStep(ctx, began, turnStep)
	}
	return err
}

// judge takes back what launch has counted, or lets others count it as well: not what
// close has ended, since nobody knows whether it was a guess.
func (f *flights) judge(it *flight, err error) {
	switch {
	case err == nil:
		f.throttle.forgive(it.account, it.from)
	case f.ctx.Err() == nil:
		f.throttle.tell(it.account, it.from)
	}
}
