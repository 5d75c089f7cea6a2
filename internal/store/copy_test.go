package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// TestCopy: what one database holds is in the other afterwards, whichever engine they are
// of, and what is kept there later comes after it.
func TestCopy(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to func(*testing.T) string
	}{
		{"to PostgreSQL", file, inServer},
		{"to SQLite", inServer, file},
		{"to another file", file, file},
		{"to another schema", inServer, inServer},
	} {
		t.Run(c.name, func(t *testing.T) { testCopy(t, c.from(t), c.to(t)) })
	}
}

func file(t *testing.T) string     { return t.TempDir() + "/a.db" }
func inServer(t *testing.T) string { return schema(t) }

func testCopy(t *testing.T, from, to string) {
	f, stop := running(t, from)
	fillAll(t, f)
	want := everything(t, f)
	stop()
	f, _ = running(t, from)
	s, _ := running(t, to)
	counts, err := Copy(t.Context(), f, s)
	if diff := cmp.Diff(Counts{Messages: 2*copyPage + 6, Tokens: 2, Originals: copyPage + 3}, counts); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if diff := cmp.Diff(want, everything(t, s), alike); diff != "" {
		t.Error(diff)
	}
	scope := message.Query{Scope: "key"}
	again := []message.Record{with(record(1<<61, me, a, "again"), func(r *message.Record) { r.Scope = "key" })}
	if earlier, err := s.Put(t.Context(), again, func() {}); err != nil || !cmp.Equal(earlier, mustSelect(t, s, scope)) {
		t.Errorf("a repetition: %v %v", earlier, err)
	}
	later := []message.Record{record(1<<61, me, a, "later")}
	if _, err := s.Put(t.Context(), later, func() {}); err != nil || later[0].Seq <= want.Messages[len(want.Messages)-1].Seq {
		t.Errorf("what comes later has the number %d, %v", later[0].Seq, err)
	}
	lead(t, s, 1)
	if claimed, _, err := s.Claim(t.Context(), 1, []message.Line{{From: me}}, 1); err != nil || len(claimed[0]) != 1 {
		t.Error("nothing can be claimed:", err)
	}
	counts, err = Copy(t.Context(), f, s)
	if text := "store: " + s.engine.name + " holds something already, and only an empty one can be copied to"; err == nil || err.Error() != text || counts != (Counts{}) {
		t.Errorf("once more: %v %v", counts, err)
	}
}

// fillAll keeps something of everything.
func fillAll(t *testing.T, s *Store) {
	now := time.Now().Truncate(time.Second)
	request := []message.Record{record(1, me, a, "one"), record(2, me, b, "two"), record(3, me, b, "three")}
	for i := range request {
		request[i].Scope, request[i].Digest = "key", "digest"
	}
	mustPut(t, s, request...)
	mustPut(t, s, in(record(4, me, a, "x"), message.Waiting, 7), in(record(5, other, a, ""), message.Bounced, 8), in(record(6, other, a, ""), message.Unconfirmed, 9))
	var many []message.Record
	for i := range int64(2 * copyPage) {
		many = append(many, record(7+i, me, a, fmt.Sprint("☃", i)))
	}
	mustPut(t, s, many...)
	for i := range 5 {
		lead(t, s, int64(i+1))
	}
	if _, _, err := s.Claim(t.Context(), 5, []message.Line{{From: me}}, 1000); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"used", "unused"} {
		made, _ := madeToken(t, "me@example.com", token.Request{Name: name, Signing: secret.New("sign")}, now)
		if err := s.AddToken(t.Context(), made); err != nil {
			t.Fatal(err)
		}
		if name == "used" {
			if err := s.UseToken(t.Context(), made.Hash, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	var originals []message.Original
	for i := range copyPage + 3 {
		originals = append(originals, about(me, a, fmt.Sprint(i), fmt.Sprint(i), int64(i+1)))
	}
	mustKeep(t, s, originals...)
}

// A whole is everything that a database holds.
type whole struct {
	Messages  []message.Record
	Tokens    []token.Token
	Originals []string
}

// everything gives it, but for what is of leases.
func everything(t *testing.T, s *Store) (w whole) {
	t.Helper()
	w.Messages = mustSelect(t, s, message.Query{})
	for i := range w.Messages {
		w.Messages[i].Term = 0
	}
	var err error
	if w.Tokens, err = s.Tokens(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for after := (keptOriginal{}); ; {
		page, err := s.originalsAfter(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return w
		}
		for _, o := range page {
			w.Originals = append(w.Originals, fmt.Sprint(o))
		}
		after = page[len(page)-1]
	}
}
