package httpapi

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
)

// numbered are outcomes with the ids from first to last.
func numbered(first, last int) (list []outcome) {
	for i := first; i <= last; i++ {
		list = append(list, outcome{ID: fmt.Sprint(i)})
	}
	return list
}

// TestMemoryIsBounded: in outcomes of a sender, and in senders; who sends is not
// forgotten before others who do not.
func TestMemoryIsBounded(t *testing.T) {
	m, now := newMemory(), time.Now()
	m.add(me, now, numbered(1, 15))
	m.add(me, now, numbered(16, 33))
	if diff := cmp.Diff(numbered(14, 33), m.outcomes(me), cmp.AllowUnexported(outcome{})); diff != "" {
		t.Error(diff)
	}
	m.add(me, now, numbered(1, 100))
	if got := m.outcomes(me); len(got) != maxOutcomes || got[19].ID != "100" {
		t.Errorf("of a hundred at once there are %v", got)
	}
	for i := range 5 * maxSenders {
		m.add(message.JID(fmt.Sprintf("%d@example.com", i)), now, numbered(1, 1))
		if i%(maxSenders/2) == 0 {
			m.add(me, now, nil)
		}
		if n := len(m.young) + len(m.old); n > maxSenders {
			t.Fatalf("%d senders are remembered", n)
		}
	}
	if len(m.outcomes(me)) != maxOutcomes || len(m.outcomes("0@example.com")) != 0 || len(m.outcomes("4999@example.com")) != 1 {
		t.Errorf("%d, %d and %d are remembered", len(m.outcomes(me)), len(m.outcomes("0@example.com")), len(m.outcomes("4999@example.com")))
	}
}

// TestMinutes: each message counts in its minute, for an hour.
func TestMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		bad := []outcome{{result: result{Code: "undeliverable"}}}
		for range 90 {
			m.add(me, time.Now(), numbered(1, 2))
			m.add("you@example.com", time.Now(), bad)
			time.Sleep(time.Minute)
		}
		m.add(me, time.Now(), numbered(1, 3))
		var want minutes
		for i := range keptMinutes {
			want.Sent[i], want.Failed[i] = 2, 1
		}
		want.Sent[keptMinutes-1], want.Failed[keptMinutes-1] = 3, 0
		if diff := cmp.Diff(want, m.lastHour(time.Now())); diff != "" {
			t.Error(diff)
		}
		time.Sleep(30 * time.Minute)
		if got := m.lastHour(time.Now()); got.Sent[keptMinutes-1] != 0 || got.Sent[keptMinutes-31] != 3 || got.Sent[0] != 2 {
			t.Errorf("half an hour later there are %v", got)
		}
		time.Sleep(31 * time.Minute)
		if diff := cmp.Diff(minutes{}, m.lastHour(time.Now())); diff != "" {
			t.Error(diff)
		}
	})
}
