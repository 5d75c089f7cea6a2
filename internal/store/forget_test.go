package store

import (
	"testing"
	"time"

	"posthorn/internal/message"
)

// TestForgetRevived: what comes back while its time is over is not forgotten with the
// others, whoever waits for whom.
func TestForgetRevived(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	at := db.NewDatabase(t)
	s, _ := running(t, at)
	mustPut(t, s, record(0, me, a, "x"), record(0, me, b, "x"))
	for _, seq := range []int64{1, 2} {
		if !settle(t, s, message.Change{Before: message.Queued, Record: in(record(seq, me, a, ""), message.Failed, 1)})[0] {
			t.Fatal("it has not failed")
		}
	}
	tx, err := s.database.writers.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `UPDATE messages SET state = 'queued', wake = $1 WHERE seq = 1`, time.Now().Add(time.Hour).UnixNano()); err != nil {
		t.Fatal(err)
	}
	forgotten := make(chan error, 1)
	go func() {
		_, err := s.Forget(t.Context(), time.Now(), 1000)
		forgotten <- err
	}()
	eventually(t, "it waits for the record", func() bool {
		n, err := db.Ask(at, "SELECT count(*) FROM pg_locks WHERE NOT granted")
		return err == nil && n == "1"
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-forgotten; err != nil {
		t.Error(err)
	}
	if got := mustSelect(t, s, message.Query{}); len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("there are %v, and 1 is to be sent", seqs(got))
	}
}
