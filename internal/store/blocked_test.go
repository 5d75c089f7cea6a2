package store

import (
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
	if err := s.Open(); err != nil {
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
