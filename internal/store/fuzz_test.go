package store

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
)

// oddTexts are what a database could take for something else.
func oddTexts() []string {
	return []string{"id", "'; DROP TABLE messages; --", "a\x00b", "\xff", "%", "_", "1", "1.0", "☃", "e\u0301", "NULL", " a ", "A", "\ufeffx", "0x10", "{a,b}", `"`, `\x41`, `\`, "$1"}
}

// FuzzPut: what is kept comes back as it was, and is found by what it was kept with,
// and by nothing else.
func FuzzPut(f *testing.F) {
	for _, s := range oddTexts() {
		f.Add(s, s+"@example.com", "you@example.com/"+s, s, s, s)
		f.Add("id", "me@example.com", "you@example.com", "", "digest", s)
	}
	s, _ := running(f, f.TempDir()+"/a.db")
	seq := int64(0)
	f.Fuzz(func(t *testing.T, id, from, to, scope, digest, text string) {
		if id == "" || from == "" {
			t.Skip("means any")
		}
		if !utf8.ValidString(text) {
			t.Skip("Validate refuses it")
		}
		seq++
		want := record(seq, message.JID(from), message.JID(to), text)
		want.ID, want.Scope, want.Digest, want.Detail, want.Code = id, scope, digest, text, digest
		want.Message = &message.Message{Body: text, HTML: text, Subject: text}
		comesBack(t, s, want)
	})
}

// TestOddTexts: so it is with PostgreSQL.
func TestOddTexts(t *testing.T) {
	s, _ := running(t, schema(t))
	for _, text := range oddTexts() {
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			continue // TestUnfit
		}
		want := record(0, message.JID(text+"@example.com"), message.JID("you@example.com/"+text), text)
		want.ID, want.Scope, want.Digest, want.Detail, want.Code = text, text, text, text, text
		comesBack(t, s, want)
	}
}

// comesBack keeps a record in a store that holds nothing, and has it forgotten again.
func comesBack(t *testing.T, s *Store, want message.Record) {
	put := []message.Record{want}
	mustPut(t, s, put...)
	want.Seq = put[0].Seq
	queries := []message.Query{{}, {ID: want.ID}, {From: want.From}, {From: want.From, ID: want.ID}, {From: want.From, State: message.Queued, After: want.Seq - 1, Limit: 1}}
	if want.Scope != "" {
		queries = append(queries, message.Query{Scope: want.Scope})
		if earlier, err := s.Put(t.Context(), []message.Record{want}, func() {}); err != nil || !cmp.Equal(earlier, []message.Record{want}) {
			t.Errorf("again: %v %v", earlier, err)
		}
	}
	for _, q := range queries {
		if diff := cmp.Diff([]message.Record{want}, mustSelect(t, s, q)); diff != "" {
			t.Errorf("%+v: %s", q, diff)
		}
	}
	for _, q := range []message.Query{{ID: want.ID + "x"}, {ID: want.ID + "\x00"}, {From: want.From + "x"}, {Scope: want.Scope + "x"}} {
		if got := mustSelect(t, s, q); len(got) != 0 {
			t.Errorf("%+v gives %d records", q, len(got))
		}
	}
	if piles, last, err := s.Tally(t.Context()); err != nil || last != want.Seq || len(piles) != 1 {
		t.Errorf("%v %d %v", piles, last, err)
	}
	settled, err := s.Settle(t.Context(), []message.Change{{Before: message.Queued, Record: in(want, message.Bounced, 1)}})
	if removed, err2 := s.Forget(t.Context(), want.Wake, 0); err != nil || err2 != nil || !settled[0] || removed != 1 {
		t.Errorf("it stays: %v %v %v", err, err2, removed)
	}
}
