package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"posthorn/internal/message"
	"posthorn/internal/pgtest"
	"posthorn/internal/token"
	"posthorn/internal/xmpptest"
)

// TestFar: with a database that is far away, many things at once take longer, and all are
// done.
func TestFar(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	proxy := proxied(t, db)
	s, _ := running(t, pgtest.MustAt(t, db.NewDatabase(t), proxy.Address))
	from, _ := running(t, file(t))
	for n := range 700 {
		one, _ := madeToken(t, message.JID(fmt.Sprintf("%d@example.com", n)), token.Request{Name: "one"}, time.Now())
		if err := from.AddToken(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Set(xmpptest.Wire{Delay: 8 * time.Millisecond}, xmpptest.Wire{})
	if n, err := Copy(t.Context(), from, s); err != nil || n.Tokens != 700 {
		t.Errorf("%d tokens were copied: %v", n.Tokens, err)
	}
	var keeping sync.WaitGroup
	for n := range 2 * maxBatch {
		keeping.Go(func() {
			from := message.JID(fmt.Sprintf("%d@example.com", n))
			if err := s.KeepOriginals(t.Context(), []message.Original{about(from, a, "key", "id", 1)}); err != nil {
				t.Error(err)
			}
		})
	}
	keeping.Wait()
}
