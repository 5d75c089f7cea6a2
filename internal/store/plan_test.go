package store

import (
	"strings"
	"testing"
	"time"

	"posthorn/internal/message"
)

// TestPlans: what delivery asks again and again is found by an index, and not by
// reading every record, of which a million may be remembered.
func TestPlans(t *testing.T) {
	s, _ := running(t, t.TempDir()+"/a.db")
	now := time.Now()
	for _, c := range []struct {
		name  string
		query message.Query
		index string
	}{
		{"a page of a line", message.Query{From: me, State: message.Queued, After: 1, Limit: 128}, "messages_line (sender=? AND seq>?)"},
		{"what is due", message.Query{Open: true, WakeBy: now, Limit: 1024}, "messages_due (wake<?)"},
		{"a message", message.Query{From: me, ID: "id"}, "messages_id (id=? AND sender=?)"},
		{"a message, as delivery asks", message.Query{From: me, ID: "id", Newest: true, Limit: 200}, "messages_id (id=? AND sender=?)"},
		{"a message of anybody", message.Query{ID: "id"}, "messages_id (id=?)"},
		{"a pending message of anybody", message.Query{ID: "id", Open: true, After: 1, Limit: 256}, "messages_id (id=?)"},
		{"a sender's newest", message.Query{From: me, Newest: true, Limit: 20}, "messages_sender (sender=?)"},
		{"a request", message.Query{Scope: "scope"}, "messages_scope (scope=?)"},
		{"the oldest", message.Query{Open: true, Limit: 1}, "messages_open"},
		{"a page of what is pending", message.Query{Open: true, After: 1, Limit: 256}, "messages_open (seq>?)"},
		{"what has no outcome", message.Query{State: message.Unconfirmed, After: 1, Limit: 512}, "messages_unconfirmed (seq>?)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, args := selection(c.query)
			got := plan(t, s, text, args...)
			if first := got[0]; !strings.HasSuffix(first, "INDEX "+c.index) {
				t.Errorf("got %q, want the index %s", got, c.index)
			}
		})
	}
	t.Run("the bound of what is remembered", func(t *testing.T) {
		if got := plan(t, s, beyond, 10); !strings.Contains(strings.Join(got, "; "), "COVERING INDEX messages_done") {
			t.Errorf("got %q, want the index messages_done alone", got)
		}
	})
	for _, c := range []struct {
		name, query, index string
		args               []any
	}{
		{"an original", original, "INDEX sqlite_autoindex_originals_1 (sender=? AND recipient=? AND about=?)", []any{me, a, "x", 1}},
		{"the bound of a sender's", beyondOfOne, "COVERING INDEX originals_sender (sender=?)", []any{me, 1}},
		{"the bound of all", beyondOriginals, "COVERING INDEX originals_expires", []any{1}},
		{"a sender's too many", tooMany, "INDEX originals_sender (sender=? AND expires<?)", []any{me, 1}},
		{"what is over", over, "INDEX originals_expires (expires<?)", []any{1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := plan(t, s, c.query, c.args...); !strings.Contains(strings.Join(got, "; "), c.index) || strings.Contains(strings.Join(got, "; "), "TEMP B-TREE") {
				t.Errorf("got %q, want the index %s", got, c.index)
			}
		})
	}
}

// plan gives how SQLite would find what a query asks for.
func plan(t *testing.T, s *Store, query string, args ...any) (steps []string) {
	t.Helper()
	rows, err := s.database.readers.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	return steps
}
