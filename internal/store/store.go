// Package store keeps messages in a database: those that could not be handed
// over, and those whose outcome has to be remembered for an idempotency key. Where
// several posthorns share it, each an instance, it keeps all of theirs. It does not
// decide about them.
//
//  1. Open opens the database, a file of SQLite or one of PostgreSQL's, and brings its
//     tables up to date, in order and only forward.
//  2. Run writes: with one goroutine to SQLite, with four to PostgreSQL. Each takes all
//     the writes that wait and commits them as one transaction, whose one fsync they
//     share, and then tells each.
//  3. Readers have connections of their own, and see what is committed.
//  4. When the database fails (locked, full, read-only, damaged, away), writes get an
//     error at once, and Run tries until it works again.
//  5. Instances are told of what others have written, once it is committed. Words get
//     lost: who has to know looks by itself as well, now and then.
//  6. One instance at a time has a lease, of a term. What it claims under that is void
//     once there is a later term.
//
// An engine is in what the two kinds of database differ; they have the same tables and
// the same SQL, but for some words, and what PostgreSQL does with many rows at once.
//
// SQLite: WAL mode, so that readers and the writer do not wait for each other, and
// synchronous=FULL, so that what is committed outlives a loss of power. Its directory is
// locked: one process has it, but for the administrator's commands.
//
// PostgreSQL: what is put and settled goes in few statements and one round trip, so that no
// lock is held while an instance or the network stands still, and all else has a transaction
// of its own, so that instances wait for each other in no circle; everything has a deadline,
// here and at the server. A connection that is lost after that leaves open whether it was
// done, and whoever put it is told so.
package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// Options say where the database is.
type Options struct {
	Path string       // of the SQLite file; its directory is made where it is missing
	URL  secret.Value // of the PostgreSQL database; empty: it is SQLite's
	// Beside a service that uses it: the directory is not locked, and a database
	// that is not there, or older, is an error. It hears nothing, but others hear of it.
	Beside  bool
	Name    string // of this instance, unlike that of any other that has the database
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none

	// What other instances do. Each may be nil, is called by one goroutine, and must not
	// block.
	Arrived func(sender message.JID, seq int64) // something of the sender's is in line, seq the first of it
	Settled func(seqs []int64)                  // outcomes of these were written
	Told    func(topic, text string)            // one has called Tell; topic "lease" says that the lease has changed
	Missed  func()                              // anything may have happened
}

const (
	// maxBatch bounds the writes of one transaction, and with it how long the
	// first of them waits for the last.
	maxBatch = 512
	// tryAgain is how often a database that fails is tried.
	tryAgain = time.Second
)

// ErrInUse: another process has the directory.
var ErrInUse = errors.New("is in use by another posthorn: stop that one, or give each a store of its own")

var errEnded = errors.New("store: has ended")

// A Store is a database, whether or not it can be opened now. Make it with New,
// open it with Open, and give it a goroutine with Run.
type Store struct {
	opts   Options // immutable after New
	engine engine  // immutable after New
	writes chan *write
	doubts chan error // from readers; capacity 1, since one is enough
	others *others    // that have the database too, nil where there are none; immutable after New
	commit prometheus.Histogram
	gauge  prometheus.Gauge
	lock   *os.File      // owned by Open, and Run after it; nil: not locked
	ended  chan struct{} // closed by Run when it has written its last

	// Guarded by mu.
	mu         sync.RWMutex
	failure    error         // why nothing can be kept now; nil: it can
	database   *database     // nil: not open
	lastLogged string        // gist of the failure that the log told of last
	worked     time.Time     // when something was last committed
	stream     string        // how the lease last said that the stream is
	counted    time.Time     // when Changed last said so, for no other reason than the time
	counting   time.Duration // what Tally last took
}

// New makes a Store that is not open.
func New(opts Options) *Store {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	auto := promauto.With(opts.Metrics)
	s := &Store{
		opts:    opts,
		engine:  sqlite(opts.Path),
		writes:  make(chan *write, maxBatch),
		doubts:  make(chan error, 1),
		ended:   make(chan struct{}),
		failure: errors.New("store: is not open"),
		commit: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "posthorn_store_commit_seconds", Help: "Time of one commit, which many messages may share.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 12),
		}),
		gauge: auto.NewGauge(prometheus.GaugeOpts{
			Name: "posthorn_store_failing", Help: "1 while nothing can be kept.",
		}),
	}
	if !opts.URL.Empty() {
		s.engine, s.others = postgres(opts), newOthers(opts)
	}
	return s
}

// Open opens the database. ErrInUse is for a person to mend; any other error may
// pass, and Run tries again.
func (s *Store) Open(ctx context.Context) error {
	err := s.open(ctx)
	if ctx.Err() == nil { // or it was given up, which says nothing about the database
		s.setFailure(err)
	}
	return err
}

func (s *Store) open(ctx context.Context) error {
	d, err := s.engine.open(ctx, s)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.database = d
	s.mu.Unlock()
	return nil
}

// opened gives the database, or the error for who wanted it.
func (s *Store) opened() (*database, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.database == nil {
		return nil, s.failure
	}
	return s.database, nil
}

// reachable gives the database, or the error for who wants to read it: at once where it is
// known that there is no way to it.
func (s *Store) reachable() (*database, error) {
	d, err := s.opened()
	if failure := s.Failure(); err == nil && failure != nil {
		if v := s.engine.judge(failure); v == unsent || v == lost {
			return nil, failure
		}
	}
	return d, err
}

func (s *Store) closeDatabase() {
	s.mu.Lock()
	d := s.database
	s.database = nil
	s.mu.Unlock()
	if d != nil {
		d.close()
	}
}

// Failure is why nothing can be kept now, or nil.
func (s *Store) Failure() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failure
}

// setFailure notes whether the database works, and logs it when that changes.
func (s *Store) setFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	if err == nil {
		s.worked = time.Now()
		s.gauge.Set(0)
	} else {
		s.gauge.Set(1)
	}
	switch {
	case err == nil && s.lastLogged != "":
		s.lastLogged = ""
		s.opts.Log.Info("messages can be kept again")
	case err != nil && s.gist(err) != s.lastLogged:
		s.lastLogged = s.gist(err)
		s.opts.Log.Error("messages cannot be kept", "err", err)
	}
}

// unavailable is the error for those who wanted something kept or read.
func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "posthorn cannot keep messages now: its administrator finds the reason in its log").MayPass()
}

// Run writes until ctx ends, and closes the database.
func (s *Store) Run(ctx context.Context) {
	var beside sync.WaitGroup
	for range s.engine.writers - 1 {
		beside.Go(func() { s.help(ctx) })
	}
	stop := func() {}
	if s.others != nil {
		stop = s.meet(ctx)
	}
	s.lead(ctx)
	beside.Wait()
	s.finish(stop)
}

// help writes until ctx ends.
func (s *Store) help(ctx context.Context) {
	for {
		select {
		case w := <-s.writes:
			s.write(w)
		case <-ctx.Done():
			return
		}
	}
}

// lead writes until ctx ends, and sees to it that the database works.
func (s *Store) lead(ctx context.Context) {
	retry := time.NewTicker(tryAgain)
	defer retry.Stop()
	for {
		select {
		case w := <-s.writes:
			s.write(w)
		case err := <-s.doubts: // it is looked at before it is used again
			s.closeDatabase()
			s.setFailure(err)
		case <-retry.C:
			if s.Failure() != nil || s.rests() {
				s.recover(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rests reports whether nobody knows by now that the database works.
func (s *Store) rests() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.engine.idle > 0 && time.Since(s.worked) > s.engine.idle
}

// recover tries whether the database works again.
func (s *Store) recover(ctx context.Context) {
	if _, err := s.opened(); err != nil {
		_ = s.Open(ctx)
		return
	}
	s.prove()
}

// finish writes what still waits, lets others know, and lets go of everything.
func (s *Store) finish(stop func()) {
	for {
		select {
		case w := <-s.writes:
			s.write(w)
			continue
		default:
		}
		break
	}
	stop()
	s.closeDatabase()
	s.mu.Lock()
	s.failure = errEnded
	s.mu.Unlock()
	close(s.ended)
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
