package store

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"posthorn/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running opens the database at path and writes to it until the test's end, or
// until stop is called.
func running(t testing.TB, path string) (s *Store, stop func()) {
	t.Helper()
	s = New(Options{Path: path})
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return s, stop
}

func record(seq int64, sender, to message.JID, body string) message.Record {
	return message.Record{
		Seq: seq, From: sender, To: to, ID: "id", State: message.Queued, Size: 100,
		Message: &message.Message{From: sender, To: to, ID: "id", Body: body, Type: message.Chat},
		Expires: time.Unix(0, seq).Add(time.Hour), Wake: time.Unix(0, seq).Add(time.Hour),
	}
}

func TestPutAndSelect(t *testing.T) {
	s, _ := running(t, t.TempDir()+"/a.db")
	a, b := record(1, "me@example.com", "a@example.com", "one"), record(2, "me@example.com", "b@example.com", "two")
	if _, err := s.Put(t.Context(), []message.Record{a, b}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Select(t.Context(), message.Query{From: "me@example.com", State: message.Queued})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]message.Record{a, b}, got); diff != "" {
		t.Error(diff)
	}
}
