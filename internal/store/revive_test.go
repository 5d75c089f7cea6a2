package store

import (
	"sync"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/pgtest"
	"posthorn/internal/xmpptest"
)

// TestUnknownRevival: where the answer to a commit does not come by which a record is in
// line again, nobody says that it is not.
func TestUnknownRevival(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	proxy := proxied(t, db)
	direct := db.NewDatabase(t)
	s, _ := running(t, pgtest.MustAt(t, direct, proxy.Address))
	records := []message.Record{record(0, me, a, "x")}
	mustPut(t, s, records...)
	records[0].Seq = 1
	failed := in(records[0], message.Failed, 1)
	if !settle(t, s, message.Change{Before: message.Queued, Record: failed})[0] {
		t.Fatal("it has not failed")
	}
	var busy sync.WaitGroup
	for range 50 { // so that each connection knows the statement
		busy.Go(func() { settle(t, s, message.Change{Before: message.Queued, Record: failed}) })
	}
	busy.Wait()
	end := locked(t, direct, `UPDATE messages SET attempts = attempts`)
	settled := make(chan error, 1)
	go func() {
		_, err := s.Settle(t.Context(), []message.Change{{Before: message.Failed, Record: records[0]}})
		settled <- err
	}()
	eventually(t, "it waits for the lock", func() bool {
		n, err := db.Ask(direct, "SELECT count(*) FROM pg_locks WHERE NOT granted")
		return err == nil && n == "1"
	})
	proxy.Set(xmpptest.Wire{}, xmpptest.Wire{Stalled: true})
	end()
	eventually(t, "it is in line again", func() bool {
		state, err := db.Ask(direct, "SELECT state FROM messages")
		return err == nil && state == "queued"
	})
	proxy.Cut()
	if err := <-settled; fault.Of(err).Kind != fault.Unconfirmed {
		t.Errorf("it is in line again, and who asked for that is told: %v", err)
	}
	proxy.Set(xmpptest.Wire{}, xmpptest.Wire{})
	recovers(t, s, record(0, me, a, "x"))
}
