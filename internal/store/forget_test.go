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
	for _, c := range []struct{ name, revive, count string }{
		{"messages", `UPDATE messages SET state = 'queued', wake = $1 WHERE seq = 1`, `SELECT count(*), min(seq) FROM messages`},
		{"originals", `UPDATE originals SET expires = $1 WHERE recipient = 'a@example.com'`, `SELECT count(*), count(*) FILTER (WHERE recipient = 'a@example.com') FROM originals`},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := db.NewDatabase(t)
			s, _ := running(t, at)
			mustPut(t, s, in(record(0, me, a, ""), message.Failed, 1), in(record(0, me, b, ""), message.Failed, 1))
			mustKeep(t, s, about(me, a, "key", "id", 1), about(me, b, "key", "id", 1))
			tx, err := s.database.writers.BeginTx(t.Context(), nil)
			if err == nil {
				_, err = tx.ExecContext(t.Context(), c.revive, time.Now().Add(time.Hour).UnixNano())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			forgotten := make(chan error, 1)
			go func() {
				_, err := s.Forget(t.Context(), time.Now(), 1000)
				forgotten <- err
			}()
			eventually(t, "it waits", func() bool {
				n, err := db.Ask(at, "SELECT count(*) FROM pg_locks WHERE NOT granted")
				return err == nil && n == "1"
			})
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-forgotten; err != nil {
				t.Error(err)
			}
			if left, err := db.Ask(at, c.count); left != "1|1" || err != nil {
				t.Errorf("there are %s (how many, which): %v", left, err)
			}
		})
	}
}
