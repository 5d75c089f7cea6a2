package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// about is an original that ends so many nanoseconds after 1970.
func about(from, to message.JID, key, id string, expires int64) message.Original {
	return message.Original{From: from, To: to, Key: key, ID: id, Expires: time.Unix(0, expires)}
}

func mustKeep(t testing.TB, s *Store, originals ...message.Original) {
	t.Helper()
	if err := s.KeepOriginals(t.Context(), originals); err != nil {
		t.Fatal(err)
	}
}

// originals gives what a message from me to a and to b about key corrects at a time.
func originals(t testing.TB, s *Store, key string, now int64) []string {
	t.Helper()
	ids, err := s.Originals(t.Context(), me, []message.JID{a, b}, key, time.Unix(0, now))
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestOriginals: of a sender, a recipient and a key the last one counts, until its
// time is over, and across restarts. However long a key is, nothing of it is on disk.
func TestOriginals(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir+"/a.db")
	long := strings.Repeat("of a long key ", 1000)
	mustKeep(t, s, about(me, a, "disk", "1", 10), about(me, b, "disk", "2", 20))
	mustKeep(t, s, about(other, a, "disk", "3", 10))
	mustKeep(t, s, about(me, a, "load", "4", 10))
	mustKeep(t, s, about(me, a, "load", "5", 30))
	mustKeep(t, s, about(me, b, long, "6", 10), about(me, a, "", "7", 10))
	stop()
	s, stop = running(t, dir+"/a.db")
	for _, c := range []struct {
		key  string
		now  int64
		want []string
	}{
		{"disk", 9, []string{"1", "2"}},
		{"disk", 10, []string{"", "2"}},
		{"disk", 20, []string{"", ""}},
		{"load", 29, []string{"5", ""}},
		{"Load", 0, []string{"", ""}},
		{long, 0, []string{"", "6"}},
		{long + "x", 0, []string{"", ""}},
		{"", 0, []string{"7", ""}},
	} {
		if diff := cmp.Diff(c.want, originals(t, s, c.key, c.now)); diff != "" {
			t.Errorf("%.10s at %d: %s", c.key, c.now, diff)
		}
	}
	stop()
	for file, err := range files(dir) {
		if err != nil || bytes.Contains(file, []byte("of a long key")) {
			t.Errorf("the key stands on the disk, or %v", err)
		}
	}
}

// TestOriginalsBounds: of one sender there are only so many, the oldest go first, and
// those of others stay.
func TestOriginalsBounds(t *testing.T) { each(t, testOriginalsBounds) }

func testOriginalsBounds(t *testing.T, at string) {
	s, _ := running(t, at)
	mustKeep(t, s, about(other, a, "old", "0", 1), about(other, a, "new", "0", 1<<40))
	const batch = 100
	for i := 0; i < maxOriginalsOfOne+batch; i += batch {
		var some []message.Original
		for n := i; n < i+batch; n++ {
			some = append(some, about(me, a, fmt.Sprint(n), fmt.Sprint(n), int64(n+2)))
		}
		mustKeep(t, s, some...)
	}
	if got, want := count(t, s, me), maxOriginalsOfOne; got != want {
		t.Errorf("there are %d, want %d", got, want)
	}
	if got := count(t, s, other); got != 2 {
		t.Errorf("there are %d of another sender", got)
	}
	for n, want := range map[int]string{0: "", batch - 1: "", batch: fmt.Sprint(batch), maxOriginalsOfOne: fmt.Sprint(maxOriginalsOfOne)} {
		if got := originals(t, s, fmt.Sprint(n), 0)[0]; got != want {
			t.Errorf("%d corrects %q, want %q", n, got, want)
		}
	}
}

func count(t testing.TB, s *Store, sender message.JID) (n int) {
	t.Helper()
	if err := s.database.readers.QueryRowContext(t.Context(), `SELECT count(*) FROM originals WHERE sender = $1`, string(sender)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestForgetOriginals: originals go when their time is over, more than one
// transaction removes, and the oldest when there are too many.
func TestForgetOriginals(t *testing.T) {
	path := t.TempDir() + "/a.db"
	s, _ := running(t, path)
	mustKeep(t, s, about(me, a, "1", "1", 10), about(me, a, "2", "2", 20), about(me, b, "2", "3", 30))
	mustPut(t, s, in(record(1, me, a, ""), message.Bounced, 10))
	removed, err := s.Forget(t.Context(), time.Unix(0, 20), 10)
	if got := count(t, s, me); err != nil || removed != 3 || got != 1 {
		t.Errorf("removed %d, %v; there are %d", removed, err, got)
	}
	const more = 2*maxForgotten + 10
	fill := fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO originals SELECT 'many@example.com', i, i, i, 1000 + i FROM n`, maxOriginals+more)
	foreign(t, path, fill)()
	if removed, err = s.Forget(t.Context(), time.Unix(0, 20), 10); err != nil || removed != more+1 {
		t.Errorf("removed %d, %v", removed, err)
	}
	var oldest int
	if err := s.database.readers.QueryRowContext(t.Context(), `SELECT min(expires) FROM originals`).Scan(&oldest); err != nil || oldest != 1000+more+1 {
		t.Errorf("the oldest is of %d, %v", oldest, err)
	}
}

// TestOriginalsFail: a store that fails says so, and at once.
func TestOriginalsFail(t *testing.T) {
	s := New(Options{Path: t.TempDir() + "/a.db"})
	_, err := s.Originals(context.Background(), me, []message.JID{a}, "disk", time.Now())
	if fault.Of(err).Kind != fault.Unavailable {
		t.Errorf("Originals gave %v", err)
	}
	if err := s.KeepOriginals(context.Background(), []message.Original{about(me, a, "disk", "1", 1)}); fault.Of(err).Kind != fault.Unavailable {
		t.Errorf("KeepOriginals gave %v", err)
	}
}

// TestOlderVersion: what an older posthorn has kept is there, and so are the new
// tables.
func TestOlderVersion(t *testing.T) {
	path := t.TempDir() + "/a.db"
	s, stop := running(t, path)
	mustPut(t, s, record(1, me, a, "x"))
	stop()
	foreign(t, path, `DROP TABLE originals; DROP INDEX messages_sender; DROP TABLE leases; DROP INDEX messages_request;
		ALTER TABLE messages DROP COLUMN accepted; ALTER TABLE messages DROP COLUMN part; ALTER TABLE messages DROP COLUMN term; ALTER TABLE messages DROP COLUMN waits;
		DELETE FROM versions WHERE version >= 3`)()
	s, _ = running(t, path)
	mustKeep(t, s, about(me, a, "disk", "1", 10))
	if diff := cmp.Diff([]string{"1", ""}, originals(t, s, "disk", 0)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]message.Record{record(1, me, a, "x")}, mustSelect(t, s, message.Query{})); diff != "" {
		t.Error(diff)
	}
}

// TestOriginalsAtOnce: what keeps originals holds no row while it waits for one that another
// instance has, whatever came before it.
func TestOriginalsAtOnce(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	at := db.NewDatabase(t)
	s, _ := running(t, at)
	mustKeep(t, s, about(me, a, "key", "old", 1), about(me, b, "key", "old", 1))
	tx, err := s.database.writers.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), `UPDATE originals SET id = 'other' WHERE recipient = $1`, string(a))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var batch []*write
	for _, to := range []message.JID{b, a} {
		batch = append(batch, &write{done: make(chan error, 1), do: func(c *connection) error {
			_, err := c.exec(keepOriginal, string(me), string(to), hashOf("key"), "new", 2)
			return err
		}})
	}
	go s.commitAll(batch)
	eventually(t, "it waits", func() bool {
		n, err := db.Ask(at, "SELECT count(*) FROM pg_locks WHERE NOT granted")
		return err == nil && n == "1"
	})
	if _, err := tx.ExecContext(t.Context(), `SELECT id FROM originals FOR UPDATE NOWAIT`); err != nil {
		t.Error("the other would wait, too:", err)
	}
	_ = tx.Rollback()
	for _, w := range batch {
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	}
	if got := originals(t, s, "key", 1); got[0] != "new" || got[1] != "new" {
		t.Error(got)
	}
}
