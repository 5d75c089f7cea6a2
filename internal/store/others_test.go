package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// An ear notes what an instance hears.
type ear struct {
	mu      sync.Mutex
	arrived map[message.JID]int64
	settled []int64
	told    []string
	missed  int
}

// instance is a running Store of that name, with an ear that has begun to listen.
func instance(t testing.TB, at, name string) (*Store, *ear) {
	t.Helper()
	e := &ear{arrived: make(map[message.JID]int64)}
	s, _ := runningWith(t, Options{
		URL: secret.New(at), Name: name,
		Arrived: func(sender message.JID, seq int64) { e.note(func() { e.arrived[sender] = seq }) },
		Settled: func(seqs []int64) { e.note(func() { e.settled = append(e.settled, seqs...) }) },
		Told:    func(topic, text string) { e.note(func() { e.told = append(e.told, topic+": "+text) }) },
		Missed:  func() { e.note(func() { e.missed++ }) },
	})
	eventually(t, name+" listens", func() (listens bool) { e.note(func() { listens = e.missed > 0 }); return listens })
	return s, e
}

func (e *ear) note(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

// hears waits until what is heard is as wanted.
func (e *ear) hears(t *testing.T, what string, is func() bool) {
	t.Helper()
	eventually(t, what, func() (yes bool) { e.note(func() { yes = is() }); return yes })
}

// TestOthersHear: what one instance writes the others hear, and it does not hear itself.
func TestOthersHear(t *testing.T) {
	at := schema(t)
	one, oneHears := instance(t, at, "one")
	two, twoHears := instance(t, at, "two")
	mustPut(t, one, record(0, me, a, "x"), record(0, me, b, "x"))
	mustPut(t, one, in(record(0, other, a, "x"), message.Waiting, 1))
	twoHears.hears(t, "what is in line", func() bool { return twoHears.arrived[me] == 1 })

	line := mustSelect(t, two, message.Query{})
	settle(t, two, message.Change{Before: message.Queued, Record: in(line[0], message.Bounced, 1)}, message.Change{Before: message.Waiting, Record: in(line[2], message.Queued, 1)},
		message.Change{Before: message.Waiting, Record: in(line[1], message.Bounced, 1)})
	oneHears.hears(t, "what is settled", func() bool { return slices.Equal(oneHears.settled, []int64{1}) && oneHears.arrived[other] == 3 })
	twoHears.note(func() {
		if _, early := twoHears.arrived[other]; early || len(twoHears.settled) > 0 {
			t.Error("it heard of what waits, or itself:", twoHears.arrived, twoHears.settled)
		}
	})

	const text = "<&>\u2028\"\x00\xff ☃"
	if err := two.Tell("topic", text); err != nil {
		t.Error(err)
	}
	oneHears.hears(t, "what is told", func() bool {
		return slices.Equal(oneHears.told, []string{"topic: " + strings.ToValidUTF8(text, "\ufffd")})
	})

	beside := New(Options{URL: secret.New(at), Beside: true})
	if err := beside.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := run(t, beside)
	settle(t, beside, message.Change{Before: message.Queued, Record: in(line[1], message.Expired, 1)})
	stop()
	oneHears.hears(t, "a command", func() bool { return slices.Contains(oneHears.settled, 2) })
	twoHears.hears(t, "a command", func() bool { return slices.Equal(twoHears.settled, []int64{2}) })
}

func settle(t testing.TB, s *Store, changes ...message.Change) (applied []bool) {
	t.Helper()
	applied, err := s.Settle(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

// TestOthersHearMuch: however much there is to tell, it is told, in pieces that
// PostgreSQL takes; what is more than that, is told as something that was missed.
func TestOthersHearMuch(t *testing.T) {
	at := schema(t)
	one, _ := instance(t, at, "one")
	_, hears := instance(t, at, "two")
	for i := range 100 {
		if err := one.Tell("big", fmt.Sprint(i, strings.Repeat("x", maxTold-10))); err != nil {
			t.Fatal(err)
		}
	}
	one.others.say(func(n *news) {
		for i := range int64(maxArrived) {
			n.arrive([]message.Record{record(i+1, message.JID(fmt.Sprint(strings.Repeat("☃", 900), i, "@example.com")), a, "")})
		}
		for i := range int64(maxSettled) {
			n.change(&settling{changes: []message.Change{{Record: in(record(1<<60+i, me, a, ""), message.Bounced, 1)}}, applied: []bool{true}})
		}
	})
	hears.hears(t, "everything", func() bool {
		return len(hears.told) == 100 && len(hears.arrived) == maxArrived && len(hears.settled) == maxSettled && hears.missed == 1
	})
	one.others.say(func(n *news) {
		for i := range int64(maxArrived + 1) {
			n.arrive([]message.Record{record(i+1, message.JID(fmt.Sprint(i)), a, "")})
		}
	})
	hears.hears(t, "that it has missed something", func() bool { return hears.missed == 2 })
}

func TestTellTooMuch(t *testing.T) {
	s := New(Options{URL: secret.New("postgres://nowhere/")})
	for _, text := range []string{strings.Repeat("x", maxTold+1), strings.Repeat("\x01", 2000)} {
		want := fmt.Sprintf("store: %d bytes about topic are more than can be told", len(text))
		if err := s.Tell("topic", text); err == nil || err.Error() != want {
			t.Errorf("gave %v, want %s", err, want)
		}
	}
	if err := s.Tell("topic", strings.Repeat("x", maxTold)); err != nil {
		t.Error(err)
	}
	for range 2 * maxTexts {
		_ = s.Tell("topic", "x")
	}
	if n := s.others.take(); len(n.Told) != maxTexts || n.Missed {
		t.Errorf("%d wait to be told, missed: %v", len(n.Told), n.Missed)
	}
}

// TestLeaseIsTold: others hear of a lease that is taken, released, or says something else
// of the stream.
func TestLeaseIsTold(t *testing.T) {
	at := schema(t)
	one, _ := instance(t, at, "one")
	_, hears := instance(t, at, "two")
	count := 0
	step := func(what string, tells bool, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(what, err)
		}
		if tells {
			count++
		}
		if err := one.Tell("mark", what); err != nil {
			t.Fatal(err)
		}
		hears.hears(t, what, func() bool { return slices.Contains(hears.told, "mark: "+what) })
		hears.note(func() {
			if n := len(slices.DeleteFunc(slices.Clone(hears.told), func(s string) bool { return s != leaseTopic+": " })); n != count {
				t.Errorf("%s: %d were heard, want %d", what, n, count)
			}
		})
	}
	take := func(holder string) func() error {
		return func() error { _, _, err := one.TakeLease(t.Context(), holder, life); return err }
	}
	renew := func(stream string) func() error {
		return func() error { _, err := one.RenewLease(t.Context(), "one", 1, life, stream); return err }
	}
	step("taken", true, take("one"))
	step("not taken", false, take("two"))
	step("up", true, renew("up"))
	step("still up", false, renew("up"))
	step("down", true, renew("down"))
	step("not released", false, func() error { return one.ReleaseLease(t.Context(), "one", 2) })
	step("released", true, func() error { return one.ReleaseLease(t.Context(), "one", 1) })
}
