package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// childOf names the part of a test that this process was started for.
const childOf = "POSTHORN_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childOf) == "put" {
		putUntilKilled(os.Getenv("POSTHORN_TEST_PATH"))
	}
	goleak.VerifyTestMain(server.Around(m))
}

// running opens the database at path and writes to it until the test's end, or
// until stop is called.
func running(t testing.TB, path string) (s *Store, stop func()) {
	t.Helper()
	return runningWith(t, optionsOf(path))
}

func runningWith(t testing.TB, opts Options) (s *Store, stop func()) {
	t.Helper()
	s = New(opts)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, run(t, s)
}

// run lets s write until the test's end, or until stop is called.
func run(t testing.TB, s *Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func record(seq int64, sender, to message.JID, body string) message.Record {
	return message.Record{
		Seq: seq, Accepted: time.Unix(0, seq), From: sender, To: to, ID: "id", State: message.Queued, Size: 100,
		Message: &message.Message{From: sender, To: to, ID: "id", Body: body, Type: message.Chat},
		Expires: time.Unix(0, seq).Add(time.Hour), Wake: time.Unix(0, seq).Add(time.Hour),
	}
}

const (
	me    = message.JID("me@example.com")
	other = message.JID("other@example.com")
	a     = message.JID("a@example.com")
	b     = message.JID("b@example.com")
)

// with gives r changed.
func with(r message.Record, change func(*message.Record)) message.Record {
	change(&r)
	return r
}

// in gives r in a state, without a text where that is final, and to be looked at
// so many nanoseconds after 1970.
func in(r message.Record, state message.State, wake int64) message.Record {
	r.State, r.Wake = state, time.Unix(0, wake)
	if !state.Pending() {
		r.Message = nil
	}
	return r
}

func mustPut(t testing.TB, s *Store, records ...message.Record) {
	t.Helper()
	earlier, err := s.Put(t.Context(), records, func() {})
	if err != nil || earlier != nil {
		t.Fatalf("Put gave %v, %v", earlier, err)
	}
}

func mustSelect(t testing.TB, s *Store, q message.Query) []message.Record {
	t.Helper()
	records, err := s.Select(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// TestSelect: each field of a query means what it says, also together with others,
// and a record comes back as it was put, in any state.
func TestSelect(t *testing.T) { each(t, testSelect) }

func testSelect(t *testing.T, at string) {
	s, _ := running(t, at)
	full := with(record(1, me, a, "one"), func(r *message.Record) {
		r.ID, r.Attempts, r.Code, r.Detail, r.Size, r.Scope, r.Digest = "1", 3, "unavailable", "it was so", 5000, "s", "d"
		r.Message = &message.Message{
			From: me, To: a, ID: "1", Body: "text\n\"<&>\u2028 ☃", Subject: "s", Thread: "t", Type: message.GroupChat, Lang: "de",
			HTML: "<p>x</p>", OOB: message.OOB{URL: "https://example.com/", Desc: "d"}, Replace: "r", Nick: "n", Password: "p",
		}
		r.Wake = time.Unix(0, 700)
	})
	all := []message.Record{
		full,
		in(record(2, me, b, "two"), message.Waiting, 300),
		in(record(3, other, a, "three"), message.Unconfirmed, 900),
		in(record(4, me, a, ""), message.State(message.Delivered), 100),
		in(record(5, other, a, ""), message.Bounced, 500),
		in(record(6, me, a, "six"), message.Queued, 200),
		in(record(7, me, a, ""), message.State(message.Routed), 100),
		in(record(8, me, a, ""), message.Rejected, 100),
		in(record(9, me, a, ""), message.Expired, 100),
		in(record(10, me, a, ""), message.Failed, 100),
	}
	mustPut(t, s, all...)
	for _, c := range []struct {
		name  string
		query message.Query
		want  []int64
	}{
		{"all", message.Query{}, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"from", message.Query{From: other}, []int64{3, 5}},
		{"from nobody", message.Query{From: "me@example.co"}, nil},
		{"id", message.Query{ID: "1"}, []int64{1}},
		{"id of another", message.Query{From: other, ID: "1"}, nil},
		{"scope", message.Query{Scope: "s"}, []int64{1}},
		{"no such scope", message.Query{Scope: "S"}, nil},
		{"queued", message.Query{State: message.Queued}, []int64{1, 6}},
		{"waiting", message.Query{State: message.Waiting}, []int64{2}},
		{"unconfirmed", message.Query{State: message.Unconfirmed}, []int64{3}},
		{"bounced", message.Query{State: message.Bounced}, []int64{5}},
		{"open", message.Query{Open: true}, []int64{1, 2, 3, 6}},
		{"final", message.Query{Final: true}, []int64{4, 5, 7, 8, 9, 10}},
		{"after", message.Query{After: 5}, []int64{6, 7, 8, 9, 10}},
		{"after, open", message.Query{After: 1, Open: true, Limit: 2}, []int64{2, 3}},
		{"wake by", message.Query{Open: true, WakeBy: time.Unix(0, 700)}, []int64{6, 2, 1}},
		{"wake just before", message.Query{Open: true, WakeBy: time.Unix(0, 699)}, []int64{6, 2}},
		{"newest", message.Query{Newest: true, Limit: 3}, []int64{10, 9, 8}},
		{"limit", message.Query{Limit: 1}, []int64{1}},
		{"a page", message.Query{From: me, State: message.Queued, After: 1, Limit: 10}, []int64{6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []message.Record
			for _, seq := range c.want {
				want = append(want, all[seq-1])
			}
			if diff := cmp.Diff(want, mustSelect(t, s, c.query)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPutAllOrNone: where one record cannot be kept, none of its request is, and
// those of others are not concerned.
func TestPutAllOrNone(t *testing.T) {
	s, _ := running(t, t.TempDir()+"/a.db")
	mustPut(t, s, record(5, me, a, "five"))
	var putting sync.WaitGroup
	for i := range int64(20) {
		putting.Go(func() { mustPut(t, s, record(100+i, me, a, "good")) })
		putting.Go(func() {
			_, err := s.Put(t.Context(), []message.Record{record(200+i, me, a, "bad"), record(5, me, a, "five again")}, func() {})
			if err == nil || fault.Of(err).Kind != fault.Internal {
				t.Errorf("the second record with a Seq: %v", err)
			}
		})
	}
	putting.Wait()
	if err := s.Failure(); err != nil {
		t.Error("the store fails:", err)
	}
	if got := mustSelect(t, s, message.Query{}); len(got) != 21 || got[0].Message.Body != "five" || got[20].Seq != 119 {
		t.Errorf("got %d records", len(got))
	}
}

// TestScope: the records of a request are kept once, whoever is first.
func TestScope(t *testing.T) { each(t, testScope) }

func testScope(t *testing.T, at string) {
	s, _ := running(t, at)
	request := func(first int64, digest string) (records []message.Record) {
		for i, to := range []message.JID{a, b} {
			records = append(records, with(record(first+int64(i), me, to, digest), func(r *message.Record) { r.Scope, r.Digest = "key", digest }))
		}
		return records
	}
	want := request(1, "one")
	mustPut(t, s, want...)
	for _, again := range [][]message.Record{request(11, "one"), request(21, "another")} {
		earlier, err := s.Put(t.Context(), again, func() {})
		if diff := cmp.Diff(want, earlier); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	if diff := cmp.Diff(want, mustSelect(t, s, message.Query{})); diff != "" {
		t.Error(diff)
	}
	none := func(seq int64) message.Record { return record(seq, me, a, "no key") }
	mustPut(t, s, none(31))
	mustPut(t, s, none(32))

	var putting sync.WaitGroup
	firsts := make(chan int64, 100)
	for i := range int64(100) {
		putting.Go(func() {
			r := []message.Record{with(record(100+i, me, a, "race"), func(r *message.Record) { r.Scope = "raced" })}
			if earlier, err := s.Put(t.Context(), r, func() {}); err != nil {
				t.Error(err)
			} else if earlier == nil {
				firsts <- r[0].Seq
			}
		})
	}
	putting.Wait()
	if got := mustSelect(t, s, message.Query{Scope: "raced"}); len(firsts) != 1 || len(got) != 1 || got[0].Seq != <-firsts {
		t.Errorf("%d were first, %d are kept", len(firsts), len(got))
	}
}

var states = []message.State{
	message.Queued, message.Waiting, message.Unconfirmed,
	message.State(message.Delivered), message.State(message.Routed), message.Bounced, message.Rejected, message.Expired, message.Failed,
}

// TestSettle: every change of a state is applied where the state is still what it
// was, and only there; a text goes with the final outcome and comes back with the
// message.
func TestSettle(t *testing.T) { each(t, testSettle) }

func testSettle(t *testing.T, at string) {
	s, _ := running(t, at)
	var olds, wants []message.Record
	var changes []message.Change
	var applies []bool
	for _, is := range states {
		for _, before := range states {
			for _, after := range states {
				old := in(record(int64(len(olds)+1), me, a, "old"), is, 1)
				change := message.Change{Before: before, Record: in(old, after, 2)}
				change.Attempts, change.Code, change.Detail, change.Expires = 7, "c", "d", time.Unix(0, 3)
				change.Message = &message.Message{Body: "new"}
				want := old
				if is == before {
					want = change.Record
					switch {
					case !after.Pending():
						want.Message = nil
					case is.Pending():
						want.Message = old.Message
					}
				}
				olds, changes, wants, applies = append(olds, old), append(changes, change), append(wants, want), append(applies, is == before)
			}
		}
	}
	mustPut(t, s, olds...)
	applied, err := s.Settle(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	got := mustSelect(t, s, message.Query{})
	for i := range changes {
		if applied[i] != applies[i] || !cmp.Equal(got[i], wants[i]) {
			t.Errorf("%s, changed from %s to %s: applied %v %s", olds[i].State, changes[i].Before, changes[i].State, applied[i], cmp.Diff(wants[i], got[i]))
		}
	}
}

// TestSettleMany: each of many changes is applied or not by itself.
func TestSettleMany(t *testing.T) { each(t, testSettleMany) }

func testSettleMany(t *testing.T, at string) {
	s, _ := running(t, at)
	mustPut(t, s, record(1, me, a, "one"), record(2, me, a, "two"))
	drop := func(seq int64, before message.State) message.Change {
		return message.Change{Before: before, Record: in(record(seq, me, a, ""), message.Expired, 1)}
	}
	applied, err := s.Settle(t.Context(), []message.Change{drop(1, message.Waiting), drop(2, message.Queued), drop(2, message.Queued), drop(3, message.Queued)})
	if diff := cmp.Diff([]bool{false, true, false, false}, applied); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// TestTextsAreGone: once the outcome is final and the service has stopped, nothing
// of a text is in the directory, however long it was.
func TestTextsAreGone(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir+"/a.db")
	var records []message.Record
	for i := range int64(400) {
		records = append(records, record(i+1, me, a, strings.Repeat("a secret text ", int(1+i*i%997))))
	}
	mustPut(t, s, records...)
	for i := 0; i < len(records); i += 10 { // a few at a time, in an order that mixes pages
		var changes []message.Change
		for j := range 10 {
			changes = append(changes, message.Change{Before: message.Queued, Record: in(records[(i+j)*7%len(records)], message.State(message.Delivered), 1)})
		}
		if _, err := s.Settle(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range mustSelect(t, s, message.Query{}) {
		if r.Message != nil {
			t.Fatalf("message %d has its text", r.Seq)
		}
	}
	stop()
	files, err := filepath.Glob(dir + "/*")
	if diff := cmp.Diff([]string{dir + "/a.db", dir + "/posthorn.lock"}, files); err != nil || diff != "" {
		t.Error(err, diff)
	}
	content, err := os.ReadFile(dir + "/a.db")
	if err != nil || bytes.Contains(content, []byte("secret")) || !bytes.Contains(content, []byte(a)) {
		t.Errorf("%d bytes with a text in them, or without addresses; %v", len(content), err)
	}
}

// TestForget: final records go when their time is over, or when there are too many,
// the oldest first; pending ones never.
func TestForget(t *testing.T) { each(t, testForget) }

func testForget(t *testing.T, at string) {
	records := []message.Record{
		in(record(1, me, a, "x"), message.Queued, 5), in(record(2, me, a, "x"), message.Waiting, 5), in(record(3, me, a, "x"), message.Unconfirmed, 5),
		in(record(4, me, a, ""), message.Bounced, 10), in(record(5, me, a, ""), message.Expired, 40), in(record(6, me, a, ""), message.State(message.Delivered), 20), in(record(7, me, a, ""), message.Failed, 30),
	}
	for _, c := range []struct {
		name string
		now  int64
		keep int
		want []int64
	}{
		{"nothing", 9, 4, []int64{1, 2, 3, 4, 5, 6, 7}},
		{"one whose time is over", 10, 4, []int64{1, 2, 3, 5, 6, 7}},
		{"one too many", 9, 3, []int64{1, 2, 3, 5, 6, 7}},
		{"both", 20, 1, []int64{1, 2, 3, 5}},
		{"time more than number", 35, 3, []int64{1, 2, 3, 5}},
		{"all", 40, 4, []int64{1, 2, 3}},
		{"none is kept", 0, 0, []int64{1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := running(t, another(t, at))
			mustPut(t, s, records...)
			removed, err := s.Forget(t.Context(), time.Unix(0, c.now), c.keep)
			if diff := cmp.Diff(c.want, seqs(mustSelect(t, s, message.Query{}))); err != nil || diff != "" || removed != 7-len(c.want) {
				t.Error(removed, err, diff)
			}
		})
	}
	t.Run("more than one transaction removes", func(t *testing.T) {
		s, _ := running(t, another(t, at))
		var many []message.Record
		for i := range int64(2*maxForgotten + 10) {
			many = append(many, in(record(i+1, me, a, ""), message.Bounced, i))
		}
		mustPut(t, s, many...)
		removed, err := s.Forget(t.Context(), time.Unix(0, 0), 5)
		if got := seqs(mustSelect(t, s, message.Query{})); err != nil || removed != len(many)-5 || len(got) != 5 || got[0] != int64(removed)+1 {
			t.Error(removed, got, err)
		}
	})
}

func seqs(records []message.Record) (seqs []int64) {
	for _, r := range records {
		seqs = append(seqs, r.Seq)
	}
	return seqs
}

func TestTally(t *testing.T) { each(t, testTally) }

func testTally(t *testing.T, at string) {
	s, _ := running(t, at)
	piles, last, err := s.Tally(t.Context())
	if err != nil || last != 0 || len(piles) != 0 {
		t.Errorf("of nothing: last %d, %v %v", last, err, piles)
	}
	mustPut(t, s,
		record(1, me, a, "x"), record(2, me, a, "x"), record(3, me, b, "x"), in(record(4, me, a, "x"), message.Waiting, 1),
		in(record(5, other, a, "x"), message.Unconfirmed, 1), in(record(6, me, a, ""), message.Failed, 1), in(record(7, me, a, ""), message.Bounced, 1))
	want := []message.Pile{
		{From: me, To: a, State: message.Queued, Count: 2, Size: 200},
		{From: me, To: a, State: message.Waiting, Count: 1, Size: 100},
		{From: me, To: b, State: message.Queued, Count: 1, Size: 100},
		{From: other, To: a, State: message.Unconfirmed, Count: 1, Size: 100},
	}
	order := cmpopts.SortSlices(func(x, y message.Pile) bool {
		return fmt.Sprint(x.From, x.To, x.State) < fmt.Sprint(y.From, y.To, y.State)
	})
	piles, last, err = s.Tally(t.Context())
	if diff := cmp.Diff(want, piles, order); err != nil || last != 7 || diff != "" {
		t.Errorf("last %d, %v %s", last, err, diff)
	}
}

// TestSharedCommits: many who put at once share commits.
func TestSharedCommits(t *testing.T) { each(t, testSharedCommits) }

func testSharedCommits(t *testing.T, at string) {
	registry := prometheus.NewRegistry()
	opts := optionsOf(at)
	opts.Metrics = registry
	s := New(opts)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	const puts = 300
	var putting sync.WaitGroup
	for i := range int64(puts) {
		putting.Go(func() { mustPut(t, s, record(i+1, me, a, "x")) })
	}
	eventually(t, "all wait", func() bool { return len(s.writes) == puts })
	run(t, s)
	putting.Wait()
	if got := len(mustSelect(t, s, message.Query{})); got != puts {
		t.Errorf("%d are kept", got)
	}
	if got := commits(t, registry); got < 1 || got > uint64(s.engine.writers) {
		t.Errorf("%d commits for %d puts that waited together", got, puts)
	}
}

func commits(t *testing.T, registry *prometheus.Registry) uint64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "posthorn_store_commit_seconds" {
			return f.Metric[0].Histogram.GetSampleCount()
		}
	}
	t.Fatal("there is no such metric")
	return 0
}

// TestEnd: what waits when the end comes is written; who comes later gets an error
// and does not wait for ever; and who does not want to wait for a place need not.
func TestEnd(t *testing.T) { each(t, testEnd) }

func testEnd(t *testing.T, path string) {
	s := New(optionsOf(path))
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	var putting sync.WaitGroup
	for i := range int64(maxBatch) {
		putting.Go(func() { mustPut(t, s, record(i+1, me, a, "x")) })
	}
	eventually(t, "all wait", func() bool { return len(s.writes) == maxBatch })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(gone, []message.Record{record(9999, me, a, "x")}, func() {}); !errors.Is(err, context.Canceled) {
		t.Error("without a place:", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ended)
	putting.Wait()
	const want = "posthorn cannot keep messages now: its administrator finds the reason in its log: store: has ended"
	if _, err := s.Put(t.Context(), []message.Record{record(9999, me, a, "x")}, func() {}); err == nil || err.Error() != want || fault.Of(err).Kind != fault.Unavailable {
		t.Error("Put after the end:", err)
	}
	if _, err := s.Select(t.Context(), message.Query{}); err == nil || err.Error() != want {
		t.Error("Select after the end:", err)
	}
	s.mu.Lock()
	s.failure = nil // as for who looked at it just before the end
	s.mu.Unlock()
	for range maxBatch + 1 { // with a place and without
		if _, err := s.Put(t.Context(), []message.Record{record(9999, me, a, "x")}, func() {}); err == nil || err.Error() != want {
			t.Fatal("Put at the end:", err)
		}
	}
	s, _ = running(t, path)
	if got := len(mustSelect(t, s, message.Query{})); got != maxBatch {
		t.Errorf("%d are kept", got)
	}
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("never: ", what)
		}
	}
}
