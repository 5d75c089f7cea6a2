package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
)

func lead(t testing.TB, s *Store, term int64) {
	t.Helper()
	if l, taken, err := s.TakeLease(t.Context(), "one", 0); err != nil || !taken || l.Term != term {
		t.Fatal(l, taken, err)
	}
}

// TestClaim: what is in line is claimed under the lease's term, in order, and under no
// other; what was claimed under a later one is not changed by who has an earlier one. What
// comes to be there before what was claimed already is not passed.
func TestClaim(t *testing.T) { each(t, testClaim) }

func testClaim(t *testing.T, at string) {
	s, _ := running(t, at)
	mustPut(t, s, record(1, me, a, "x"), record(2, other, a, "x"), record(3, me, b, "x"), in(record(4, me, a, "x"), message.Waiting, 1), record(5, me, a, "x"))
	claim := func(term, after int64, limit int, more bool, want ...int64) []message.Record {
		t.Helper()
		lines, again, err := s.Claim(t.Context(), term, []message.Line{{From: me, After: after}}, limit)
		if err != nil {
			t.Fatal(err)
		}
		claimed := lines[0]
		if diff := cmp.Diff(want, seqs(claimed)); diff != "" || again[0] != more {
			t.Error(again, diff)
		}
		for _, r := range claimed {
			if r.Term != term || r.Message == nil {
				t.Errorf("%d is claimed under %d", r.Seq, r.Term)
			}
		}
		return claimed
	}
	lost := func(term int64) {
		t.Helper()
		if _, _, err := s.Claim(t.Context(), term, []message.Line{{From: me}}, 10); !errors.Is(err, errLost) {
			t.Errorf("a claim under %d: %v", term, err)
		}
	}
	lost(1)
	lead(t, s, 1)
	old := claim(1, 0, 10, false, 1, 3, 5)
	claim(1, 0, 2, true, 1, 3)
	claim(1, 3, 2, false, 5)
	claim(1, 5, 2, false)
	lead(t, s, 2)
	lost(1)
	claim(2, 0, 1, true, 1)
	bounce := func(r message.Record, under int64) bool {
		t.Helper()
		return settle(t, s, message.Change{Before: message.Queued, Record: in(r, message.Bounced, 1), Under: under})[0]
	}
	if bounce(old[0], 0) {
		t.Error("what was claimed later was settled by who had claimed it before")
	}
	if bounce(old[1], 1) {
		t.Error("an outcome under an earlier term was applied")
	}
	if !bounce(old[1], 2) || !bounce(old[2], 0) {
		t.Error("what nobody else has claimed was not settled")
	}
	mustPut(t, s, record(6, me, a, "x"))
	lead(t, s, 3)
	claim(3, 6, 10, false, 1, 6)
	claim(3, 6, 10, false)
}

// TestClaimMany: many lines are claimed at once, each by itself.
func TestClaimMany(t *testing.T) { each(t, testClaimMany) }

func testClaimMany(t *testing.T, at string) {
	s, _ := running(t, at)
	mustPut(t, s, record(1, me, a, "x"), record(2, other, a, "x"), record(3, me, b, "x"), record(4, other, a, "x"), record(5, other, a, "x"))
	lines := []message.Line{{From: other, After: 2}, {From: "nobody@example.com"}, {From: me}}
	if _, _, err := s.Claim(t.Context(), 1, lines, 2); !errors.Is(err, errLost) {
		t.Errorf("without a lease: %v", err)
	}
	lead(t, s, 1)
	if first, _, err := s.Claim(t.Context(), 1, []message.Line{{From: other}}, 1); err != nil || !cmp.Equal(seqs(first[0]), []int64{2}) {
		t.Fatal(err, first)
	}
	for limit, wantMore := range map[int][]bool{1: {true, false, true}, 2: {true, false, true}, 3: {false, false, false}} {
		records, more, err := s.Claim(t.Context(), 1, lines, limit)
		want := [][]int64{[]int64{4, 5}[:min(2, limit)], nil, []int64{1, 3}[:min(2, limit)]}
		if diff := cmp.Diff(wantMore, more); err != nil || diff != "" {
			t.Error(limit, err, diff)
		}
		for i := range want {
			if diff := cmp.Diff(want[i], seqs(records[i])); diff != "" {
				t.Error(limit, diff)
			}
		}
	}
}

// TestClaimGap: a claim ends before what somebody else has in hand, and there is more.
func TestClaimGap(t *testing.T) {
	s, _ := running(t, schema(t))
	mustPut(t, s, record(0, me, a, "x"), record(0, me, a, "x"), record(0, me, a, "x"), record(0, me, a, "x"), record(0, other, a, "x"))
	lead(t, s, 1)
	for _, c := range []struct {
		name, locked string
		want         []int64
		more         bool
	}{
		{"nothing", "0", []int64{1, 2, 3, 4}, false},
		{"the third", "3", []int64{1, 2}, true},
		{"the first", "1", nil, true},
		{"the last", "4", []int64{1, 2, 3}, true},
		{"two", "4, 2", []int64{1}, true},
		{"all", "1, 2, 3, 4", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tx, err := s.database.writers.BeginTx(t.Context(), nil)
			if err == nil {
				_, err = tx.ExecContext(t.Context(), `UPDATE messages SET waits = 0 WHERE seq IN (`+c.locked+`)`)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			claimed, more, err := s.Claim(t.Context(), 1, []message.Line{{From: other}, {From: me}}, 10)
			if diff := cmp.Diff(c.want, seqs(claimed[1])); err != nil || diff != "" || more[1] != c.more {
				t.Error(err, more, diff)
			}
			if len(claimed[0]) != 1 || more[0] {
				t.Error("another's line is concerned:", more, seqs(claimed[0]))
			}
		})
	}
}

// TestPage: what is not in line any more is neither given, nor in the way of what is behind
// it; what is locked is.
func TestPage(t *testing.T) {
	var p page
	for i, state := range []message.State{message.Queued, isGone, message.Queued, isLocked, message.Queued} {
		p.add(&message.Record{Seq: int64(i), State: state})
	}
	if diff := cmp.Diff([]int64{0, 2}, seqs(p.records)); diff != "" || p.size != 5 || !p.cut {
		t.Error(diff, p.size, p.cut)
	}
}

// TestStopWaiting: who waits no more gets what is known by then, and later nobody can
// decide that the message has failed.
func TestStopWaiting(t *testing.T) { each(t, testStopWaiting) }

func testStopWaiting(t *testing.T, at string) {
	s, _ := running(t, at)
	waiting := func(r message.Record) message.Record { r.Waits = true; return r }
	put := []message.Record{waiting(record(1, me, a, "x")), waiting(in(record(2, me, a, "x"), message.Unconfirmed, 2)), waiting(record(3, me, a, "x")), record(4, me, a, "x"), waiting(record(5, me, a, "x"))}
	mustPut(t, s, put...)
	failed := func(r message.Record) bool {
		t.Helper()
		return settle(t, s, message.Change{Before: r.State, Record: in(r, message.Failed, 3)})[0]
	}
	if !failed(put[2]) {
		t.Error("one that is waited for could not fail")
	}
	want := []message.Record{put[0], put[1], in(put[2], message.Failed, 3)}
	want[0].Waits, want[1].Waits = false, false
	got, err := s.StopWaiting(t.Context(), []int64{3, 1, 2, 7})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if failed(put[0]) || failed(put[1]) {
		t.Error("one that nobody waits for any more has failed")
	}
	if !failed(put[3]) {
		t.Error("one of which nobody said that it is waited for could not fail")
	}
	back := message.Change{Before: message.Failed, Record: waiting(put[2])} // in line again
	unknown := message.Change{Before: message.Queued, Record: in(put[4], message.Unconfirmed, 3)}
	unknown.Waits = false
	if diff := cmp.Diff([]bool{true, true}, settle(t, s, back, unknown)); diff != "" {
		t.Error(diff)
	}
	is := mustSelect(t, s, message.Query{Seqs: []int64{3, 5}})
	if !is[0].Waits || is[1].Waits {
		t.Errorf("waited for: %v, %v", is[0].Waits, is[1].Waits)
	}
	again := message.Change{Before: message.Unconfirmed, Record: put[4]}
	if settle(t, s, again); mustSelect(t, s, message.Query{Seqs: []int64{5}})[0].Waits {
		t.Error("it is waited for again, though nobody came back")
	}
}

// TestStopWaitingInOrder: whoever stops waiting, the records are taken in the order of their
// numbers, as by who settles, so that neither waits for the other in a circle; and each gets
// what it has asked for.
func TestStopWaitingInOrder(t *testing.T) {
	t.Parallel()
	db := server.Server(t)
	at := db.NewDatabase(t)
	s, _ := running(t, at)
	waits := with(record(0, me, a, "x"), func(r *message.Record) { r.Waits = true })
	mustPut(t, s, waits, waits, waits)
	tx, err := s.database.writers.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), `UPDATE messages SET attempts = 1 WHERE seq = 1`)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	batch := []*write{{stop: &stopping{seqs: []int64{3, 2}}}, {stop: &stopping{seqs: []int64{1}}}}
	for _, w := range batch {
		w.done = make(chan error, 1)
	}
	go func() {
		for _, part := range s.parts(batch) {
			s.commitAll(part)
		}
	}()
	eventually(t, "it waits for the first", func() bool {
		n, err := db.Ask(at, "SELECT count(*) FROM pg_locks WHERE NOT granted")
		return err == nil && n == "1"
	})
	if _, err := tx.ExecContext(t.Context(), `SELECT seq FROM messages ORDER BY seq FOR UPDATE NOWAIT`); err != nil {
		t.Error("who settles them in their order would wait for who waits for them:", err)
	}
	_ = tx.Rollback()
	for i, want := range [][]int64{{2, 3}, {1}} {
		if err := <-batch[i].done; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, seqs(batch[i].stop.records)); diff != "" {
			t.Error(diff)
		}
	}
}
