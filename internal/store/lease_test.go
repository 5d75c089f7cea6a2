package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
)

// life is longer than any test takes.
const life = 50 * time.Second

// TestLease: a lease is one holder's until its time is over or it is released; each that
// takes it has a term of its own, and what belongs to an earlier one changes nothing.
func TestLease(t *testing.T) { each(t, testLease) }

func testLease(t *testing.T, at string) {
	s, _ := running(t, at)
	is := func(want message.Lease) {
		t.Helper()
		got, err := s.ReadLease(t.Context())
		if diff := cmp.Diff(want, got, cmp.Comparer(about20s)); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	take := func(holder string, life time.Duration, term int64) {
		t.Helper()
		l, taken, err := s.TakeLease(t.Context(), holder, life)
		if err != nil || taken != (term > 0) || taken && (l.Term != term || l.Holder != holder || !about20s(l.Left, life) || l.Stream != "") || !taken && l.Holder == "" {
			t.Errorf("%s took it: %v %v %v, want term %d", holder, l, taken, err, term)
		}
	}
	renew := func(holder string, term int64, life time.Duration, want bool) {
		t.Helper()
		if held, err := s.RenewLease(t.Context(), holder, term, life, "up"); err != nil || held != want {
			t.Errorf("%s renewed %d: %v %v", holder, term, held, err)
		}
	}
	release := func(holder string, term int64) {
		t.Helper()
		if err := s.ReleaseLease(t.Context(), holder, term); err != nil {
			t.Error(err)
		}
	}
	is(message.Lease{})
	take("one", life, 1)
	is(message.Lease{Holder: "one", Term: 1, Left: life})
	take("two", life, 0)
	take("one", life, 0)
	renew("two", 1, life, false)
	renew("one", 2, life, false)
	renew("one", 1, life, true)
	is(message.Lease{Holder: "one", Term: 1, Left: life, Stream: "up"})
	release("two", 1)
	release("one", 2)
	is(message.Lease{Holder: "one", Term: 1, Left: life, Stream: "up"})
	release("one", 1)
	if l, err := s.ReadLease(t.Context()); err != nil || l.Holder != "" || l.Term != 1 || l.Left > 0 || l.Stream != "" {
		t.Error("released:", l, err)
	}
	renew("one", 1, life, false)
	take("two", 0, 2)
	is(message.Lease{Holder: "two", Term: 2})
	renew("two", 2, life, true) // nobody has taken it
	release("one", 1)
	renew("two", 2, -time.Second, true)
	take("one", life, 3)
	renew("two", 2, life, false)
	renew("one", 3, time.Hour, true) // as if the database's clock had been set back
	is(message.Lease{Holder: "one", Term: 3, Stream: "up"})
	take("two", life, 4)
}

// about20s reports whether two times differ by what a slow machine takes.
func about20s(a, b time.Duration) bool { return (a - b).Abs() < 20*time.Second }
