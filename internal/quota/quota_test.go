package quota

import (
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTake: three at once, then one at each second.
func TestTake(t *testing.T) {
	type step struct {
		after time.Duration
		n     int // negative: given back
		wait  time.Duration
		first bool
		used  int
	}
	for name, steps := range map[string][]step{
		"a burst, then slowly": {
			{0, 1, 0, false, 1}, {0, 1, 0, false, 2}, {0, 1, 0, false, 3},
			{0, 1, time.Second, true, 3},
			{900 * time.Millisecond, 1, 100 * time.Millisecond, false, 3},
			{100 * time.Millisecond, 1, 0, false, 3},
			{0, 1, time.Second, false, 3},
		},
		"nothing owed, and refused for the first time again": {
			{0, 3, 0, false, 3}, {0, 1, time.Second, true, 3},
			{3 * time.Second, 3, 0, false, 3}, {0, 2, 2 * time.Second, true, 3},
		},
		"several together or none": {
			{0, 2, 0, false, 2}, {0, 2, time.Second, true, 2}, {0, 1, 0, false, 3},
		},
		"more than the burst, for who owes nothing": {
			{0, 5, 0, false, 5}, {0, 1, 3 * time.Second, true, 5},
			{4 * time.Second, 5, time.Second, false, 1}, {time.Second, 5, 0, false, 5},
		},
		"given back": {
			{0, 3, 0, false, 3}, {0, -1, 0, false, 2}, {0, 1, 0, false, 3}, {0, 1, time.Second, true, 3},
		},
		"given back late": {
			{0, 1, 0, false, 1}, {time.Hour, -1, 0, false, 0}, {0, 3, 0, false, 3}, {0, 1, time.Second, true, 3},
		},
		"given back to who never took": {
			{0, -1, 0, false, 0}, {0, 3, 0, false, 3}, {0, 1, time.Second, true, 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := New[string](3, time.Second, 10)
				for i, s := range steps {
					time.Sleep(s.after)
					var wait time.Duration
					var first bool
					if s.n < 0 {
						table.Give("me", -s.n)
					} else {
						wait, first = table.Take("me", s.n)
					}
					if used := table.Used("me"); wait != s.wait || first != s.first || used != s.used {
						t.Errorf("step %d: wait %v, first %v, used %d; want %+v", i, wait, first, used, s)
					}
				}
				if wait, _ := table.Take("you", 3); wait > 0 {
					t.Errorf("another key waits %v", wait)
				}
			})
		})
	}
}

// TestOwe: what others have let be used delays what can be had, by so much and no more.
func TestOwe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New[string](3, time.Second, 10)
		table.Take("me", 3)
		for range 2 {
			table.Owe("me")
		}
		if used := table.Used("me"); used != 5 {
			t.Errorf("%d are used, want 5", used)
		}
		if wait, first := table.Check("me"); wait != 3*time.Second || !first {
			t.Errorf("Check() = %v, %v", wait, first)
		}
		for range 1000 {
			table.Owe("me")
		}
		if used := table.Used("me"); used != 3*mostOwed {
			t.Errorf("%d are used, want %d", used, 3*mostOwed)
		}
		time.Sleep(3 * mostOwed * time.Second)
		if wait, _ := table.Take("me", 3); wait > 0 {
			t.Errorf("waits %v after all that was owed", wait)
		}
		table.Owe("you")
		if used := table.Used("you"); used != 1 {
			t.Errorf("%d are used by another key, want 1", used)
		}
	})
}

// TestCheck tells what Take would, and takes nothing.
func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New[string](2, time.Second, 10)
		for range 3 {
			if wait, _ := table.Check("me"); wait > 0 {
				t.Fatalf("waits %v for nothing", wait)
			}
		}
		table.Take("me", 2)
		if wait, first := table.Check("me"); wait != time.Second || !first {
			t.Errorf("Check() = %v, %v", wait, first)
		}
		if wait, first := table.Take("me", 1); wait != time.Second || first {
			t.Errorf("Take() = %v, %v after the first refusal", wait, first)
		}
	})
}

// TestMillionAddresses: they take bounded memory, and one that has used up its
// allowance is not forgotten over them.
func TestMillionAddresses(t *testing.T) {
	const most, million = 1 << 16, 1_000_000
	before := heap()
	table := New[netip.Addr](10, 30*time.Second, most)
	guesser := netip.MustParseAddr("192.0.2.1")
	table.Take(guesser, 10)
	for n := range million {
		address := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		if table.Take(address, 1); n%2 == 0 {
			table.Owe(address)
		}
	}
	grown := int64(heap()) - int64(before)
	t.Logf("%d entries of %d addresses take %d KiB", len(table.debts), million, grown>>10)
	if len(table.debts) > most || grown > 8<<20 {
		t.Errorf("%d entries and %d bytes", len(table.debts), grown)
	}
	if wait, _ := table.Check(guesser); wait == 0 {
		t.Error("a million addresses erased the debt of one")
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
