// Package store keeps messages in a database: those that could not be handed
// over, and those whose outcome has to be remembered for an idempotency key. It
// does not decide about them.
//
//  1. Open locks the directory, opens the SQLite database in it, and brings its
//     tables up to date, in order and only forward.
//  2. Run is the only writer. It takes all the writes that wait and commits them
//     as one transaction, whose one fsync they share, and then tells each.
//  3. Readers have connections of their own, and see what is committed.
//  4. When the database fails (locked, full, read-only, damaged), writes get an
//     error at once, and Run tries until it works again.
//
// SQLite: WAL mode, so that readers and the writer do not wait for each other, and
// synchronous=FULL, so that what is committed outlives a loss of power. The SQL is
// what PostgreSQL understands too, but for the names of types.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"posthorn/internal/fault"
)

// Options say where the database is.
type Options struct {
	Path string // of the SQLite file; its directory is made where it is missing
	// Beside a service that uses it: the directory is not locked, and a database
	// that is not there, or older, is an error.
	Beside  bool
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
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
	writes chan *write
	doubts chan error // from readers; capacity 1, since one is enough
	commit prometheus.Histogram
	gauge  prometheus.Gauge
	lock   *os.File      // owned by Open, and Run after it; nil: not locked
	ended  chan struct{} // closed by Run when it has written its last

	// Guarded by mu.
	mu      sync.RWMutex
	failure error   // why nothing can be kept now; nil: it can
	reader  *sql.DB // nil: not open

	// Owned by Run, and by Open before it.
	writer     *connection
	lastLogged string
}

// New makes a Store that is not open.
func New(opts Options) *Store {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	auto := promauto.With(opts.Metrics)
	return &Store{
		opts:    opts,
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
}

// Open opens the database. ErrInUse is for a person to mend; any other error may
// pass, and Run tries again.
func (s *Store) Open() error {
	err := s.open()
	s.setFailure(err)
	return err
}

func (s *Store) open() (err error) {
	if s.lock == nil && !s.opts.Beside {
		if s.lock, err = lockDirectory(filepath.Dir(s.opts.Path)); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	if err := s.prepareFile(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	w, err := openWriter(s.opts.Path, s.opts.Beside)
	if err != nil {
		return explain(s.opts.Path, err)
	}
	s.writer = w
	reader, err := openReader(s.opts.Path)
	if err != nil {
		s.closeDatabase()
		return explain(s.opts.Path, err)
	}
	s.mu.Lock()
	s.reader = reader
	s.mu.Unlock()
	return nil
}

// prepareFile makes the database's files ones that nobody else can read: a new one
// before SQLite gives its mode to those beside it. One that exists is not opened,
// because closing it would take away the locks that SQLite has on it in this
// process (fcntl(2)), and others could then remove what is in its log.
func (s *Store) prepareFile() error {
	if s.opts.Beside {
		_, err := os.Stat(s.opts.Path)
		return err
	}
	file, err := os.OpenFile(s.opts.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return file.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := hide(s.opts.Path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// hide takes a file's permissions from everybody but its owner.
func hide(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(path, 0o600)
}

// closeDatabase closes the connections, the writer's last: it then cleans up.
func (s *Store) closeDatabase() {
	s.mu.Lock()
	reader := s.reader
	s.reader = nil
	s.mu.Unlock()
	if reader != nil {
		_ = reader.Close()
	}
	if s.writer != nil {
		s.writer.close()
		s.writer = nil
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
	s.failure = err
	s.mu.Unlock()
	if err == nil {
		s.gauge.Set(0)
	} else {
		s.gauge.Set(1)
	}
	switch {
	case err == nil && s.lastLogged != "":
		s.lastLogged = ""
		s.opts.Log.Info("messages can be kept again")
	case err != nil && err.Error() != s.lastLogged:
		s.lastLogged = err.Error()
		s.opts.Log.Error("messages cannot be kept", "err", err)
	}
}

// unavailable is the error for those who wanted something kept or read.
func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "posthorn cannot keep messages now: its administrator finds the reason in its log").MayPass()
}

// Run writes until ctx ends, and closes the database.
func (s *Store) Run(ctx context.Context) {
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
			if s.Failure() != nil {
				s.recover()
			}
		case <-ctx.Done():
			s.finish()
			return
		}
	}
}

// recover tries whether the database works again.
func (s *Store) recover() {
	if s.writer == nil {
		s.setFailure(s.open())
		return
	}
	s.setFailure(s.transact(nil))
}

// finish writes what still waits and lets go of everything.
func (s *Store) finish() {
	for {
		select {
		case w := <-s.writes:
			s.write(w)
			continue
		default:
		}
		break
	}
	s.closeDatabase()
	s.mu.Lock()
	s.failure = errEnded
	s.mu.Unlock()
	close(s.ended)
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
