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
	// maxAccountWaiting and maxWaiting bound the goroutines that wait for a
	// turn, for one account and one host.
	maxAccountWaiting = 32
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
type flights struct {
	ctx     context.Context // ends with close
	stop    context.CancelFunc
	running sync.WaitGroup
	turns   chan struct{} // holds one for each probe that runs; capacity maxProbes
	silence silence

	mu       sync.Mutex // guards what follows
	shared   map[fingerprint]*flight
	accounts map[message.JID]*queue
}

// A flight is one probe. Its err is written before done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// A queue is what one account has under way.
type queue struct {
	turns   chan struct{} // capacity maxAccountProbes
	flights int           // running and waiting; guarded by flights.mu
}

func newFlights() *flights {
	f := &flights{
		turns:    make(chan struct{}, maxProbes),
		shared:   map[fingerprint]*flight{},
		accounts: map[message.JID]*queue{},
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
func (f *flights) share(ctx context.Context, mac fingerprint, account message.JID, probe func(context.Context) error) error {
	it, err := f.join(mac, account, probe)
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

func (f *flights) join(mac fingerprint, account message.JID, probe func(context.Context) error) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if it, found := f.shared[mac]; found {
		return it, nil
	}
	q := f.accounts[account]
	if q == nil {
		q = &queue{turns: make(chan struct{}, maxAccountProbes)}
	}
	if len(f.shared) >= maxWaiting || q.flights >= maxAccountWaiting {
		return nil, &ProbeError{Busy, "", errQueueFull}
	}
	q.flights++
	f.accounts[account] = q
	it := &flight{done: make(chan struct{})}
	f.shared[mac] = it
	f.running.Go(func() {
		it.err = f.fly(q, probe)
		f.leave(mac, account, q)
		close(it.done)
	})
	return it, nil
}

// fly waits for the account's turn first: who waits for that must not hold up
// others.
func (f *flights) fly(q *queue, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(f.ctx, probeTimeout)
	defer cancel()
	for _, turns := range []chan struct{}{q.turns, f.turns} {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-ctx.Done():
			return &ProbeError{Busy, "", ctx.Err()}
		}
	}
	began := time.Now()
	err := probe(ctx)
	f.silence.note(ctx, began, err)
	if errors.Is(err, errRefused) {
		waitForStep(ctx, began, turnStep)
	}
	return err
}

func (f *flights) leave(mac fingerprint, account message.JID, q *queue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.shared, mac)
	if q.flights--; q.flights == 0 {
		delete(f.accounts, account)
	}
}
