package store

import (
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/message"
)

// FuzzPut: what is kept comes back as it was, and is found by what it was kept with,
// and by nothing else.
func FuzzPut(f *testing.F) {
	for _, s := range []string{"id", "'; DROP TABLE messages; --", "a\x00b", "\xff", "%", "_", "1", "1.0", "☃", "e\u0301", "NULL", " a ", "A", "\ufeffx", "0x10"} {
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
		mustPut(t, s, want)
		queries := []message.Query{{}, {ID: id}, {From: want.From}, {From: want.From, ID: id}, {From: want.From, State: message.Queued, After: seq - 1, Limit: 1}}
		if scope != "" {
			queries = append(queries, message.Query{Scope: scope})
			if earlier, err := s.Put(t.Context(), []message.Record{want}, func() {}); err != nil || !cmp.Equal(earlier, []message.Record{want}) {
				t.Errorf("again: %v %v", earlier, err)
			}
		}
		for _, q := range queries {
			if diff := cmp.Diff([]message.Record{want}, mustSelect(t, s, q)); diff != "" {
				t.Errorf("%+v: %s", q, diff)
			}
		}
		for _, q := range []message.Query{{ID: id + "x"}, {ID: id + "\x00"}, {From: want.From + "x"}, {Scope: scope + "x"}} {
			if got := mustSelect(t, s, q); len(got) != 0 {
				t.Errorf("%+v gives %d records", q, len(got))
			}
		}
		if piles, last, err := s.Tally(t.Context()); err != nil || last != seq || len(piles) != 1 {
			t.Errorf("%v %d %v", piles, last, err)
		}
		settled, err := s.Settle(t.Context(), []message.Change{{Before: message.Queued, Record: in(want, message.Bounced, 1)}})
		if removed, err2 := s.Forget(t.Context(), want.Wake, 0); err != nil || err2 != nil || !settled[0] || removed != 1 {
			t.Errorf("it stays: %v %v %v", err, err2, removed)
		}
	})
}
