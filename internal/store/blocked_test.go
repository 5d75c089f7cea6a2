package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// locked lets a session of its own lock something until end is called.
func locked(t *testing.T, at, statement string) (end func()) {
	t.Helper()
	s := New(optionsOf(at + "&idle_in_transaction_session_timeout=0"))
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.closeDatabase)
	tx, err := s.database.writers.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), statement)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// TestLockedTable: while somebody has locked the table, nobody waits for more than a try,
// the store fails, and it works again when the lock has gone.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, _ := running(t, at+"&lock_timeout=300")
	end := locked(t, at, `LOCK TABLE messages IN EXCLUSIVE MODE`)
	var putting sync.WaitGroup
	for range 60 {
		putting.Go(func() {
			if _, err := s.Put(t.Context(), []message.Record{record(0, me, a, "x")}, func() {}); fault.Of(err).Kind != fault.Unavailable {
				t.Error(err)
			}
		})
	}
	putting.Wait()
	failure := s.Failure()
	if failure == nil || !strings.Contains(failure.Error(), " is locked by another program: ") {
		t.Error("the store says", failure)
	}
	if s.prove(); s.Failure() == nil {
		t.Error("it works although the table is locked")
	}
	end()
	recovers(t, s, record(0, me, a, "x"))
}

// TestLockedRow: what waits for a row that somebody has locked takes nothing with it, and
// is no failure of the store.
func TestLockedRow(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, _ := running(t, at+"&lock_timeout=200")
	mustPut(t, s, record(0, me, a, "x"))
	end := locked(t, at, `UPDATE messages SET attempts = attempts`)
	defer end()
	p := &settling{changes: []message.Change{{Before: message.Queued, Record: in(record(1, me, a, ""), message.Bounced, 1)}}, contents: make([][]byte, 1), applied: make([]bool, 1)}
	batch := []*write{{settle: p, done: make(chan error, 1)}}
	for range 5 {
		batch = append(batch, &write{done: make(chan error, 1), put: &putting{records: []message.Record{record(0, me, a, "x")}, contents: [][]byte{[]byte("{}")}, numbered: func() {}}})
	}
	s.commitAll(batch)
	if err := <-batch[0].done; fault.Of(err).Kind != fault.Unavailable || p.applied[0] {
		t.Error("what waits for the row:", err, p.applied)
	}
	for _, w := range batch[1:] {
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	}
	if err := s.Failure(); err != nil {
		t.Error("the store fails:", err)
	}
}

// TestTryWaitsForNobody: that another instance stands still while it tries whether it can
// write keeps nobody from finding that out.
func TestTryWaitsForNobody(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, _ := running(t, at)
	defer locked(t, at, `UPDATE versions SET version = version`)()
	if err := s.transact(nil); err != nil {
		t.Error(err)
	}
	defer locked(t, at, `LOCK TABLE messages IN EXCLUSIVE MODE`)()
	if s.prove(); s.Failure() != nil {
		t.Error("a lock, for which nobody has waited yet, is a failure:", s.Failure())
	}
}

// TestStopWhileOpening: who is to stop while the database is opened does so at once, and
// complains about nothing.
func TestStopWhileOpening(t *testing.T) {
	t.Parallel()
	at := schema(t)
	s, log := logged(at)
	defer locked(t, at, `LOCK TABLE versions IN ACCESS EXCLUSIVE MODE`)()
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() { opened <- s.Open(ctx) }()
	eventually(t, "it waits for the lock", func() bool {
		n, err := server.Server(t).Ask(at, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'versions'::regclass")
		return err == nil && n == "1"
	})
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) || log.String() != "" {
		t.Error(err, log)
	}
}

// TestOpenLocked: who opens the database waits for a lock no longer than for anything else.
func TestOpenLocked(t *testing.T) {
	t.Parallel()
	at := schema(t)
	end := locked(t, at, `LOCK TABLE versions IN ACCESS EXCLUSIVE MODE`)
	s, _ := logged(at + "&lock_timeout=100")
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), " is locked by another program: ") {
		t.Error(err)
	}
	end()
	run(t, s)
	recovers(t, s, record(0, me, a, "x"))
}
