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
			text, args := s.engine.selection(c.query)
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

// TestPlansShared: so it is with PostgreSQL, also where the plan was made before there was
// anything in the tables, which is remembered for a minute and more.
func TestPlansShared(t *testing.T) {
	at := schema(t)
	s, _ := running(t, at)
	for _, size := range []string{"empty", "large"} {
		if size == "large" {
			fillTables(t, at)
		}
		for _, c := range plansShared(s) {
			if c.onlyLarge && size == "empty" {
				continue
			}
			t.Run(size+"/"+c.name, func(t *testing.T) {
				plan := planShared(t, s, c.query, c.args)
				for _, want := range strings.Split(c.want, "; ") {
					if !strings.Contains(plan, want) {
						t.Errorf("%s lacks %s", plan, want)
					}
				}
				if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Hash Join") || strings.Contains(plan, "Merge") {
					t.Error(plan)
				}
			})
		}
	}
}

// A sharedPlan is a statement, and what has to be in how it is done.
type sharedPlan struct {
	name      string
	onlyLarge bool // in an empty table it does not matter, or not for long
	query     string
	args      []any
	want      string
}

func plansShared(s *Store) (plans []sharedPlan) {
	const sender = message.JID("user1@example.com")
	add := func(name string, onlyLarge bool, want, query string, args ...any) {
		plans = append(plans, sharedPlan{name, onlyLarge, query, args, want})
	}
	query := func(name string, onlyLarge bool, want string, q message.Query) {
		text, args := s.engine.selection(q)
		add(name, onlyLarge, want, text, args...)
	}
	query("a page of a line", false, "Index Scan using messages_line on messages Index Cond: ((sender = 'user1@example.com'::text) AND (seq > '1'::bigint))", message.Query{From: sender, State: message.Queued, After: 1, Limit: 128})
	query("what is due", false, "Index Scan using messages_due on messages Index Cond: (wake <= ", message.Query{Open: true, WakeBy: time.Now(), Limit: 1024})
	query("a message, as delivery asks", true, "Index Scan using messages_id on messages Index Cond: ((id = 'id'::text) AND (sender = 'user1@example.com'::text))", message.Query{From: sender, ID: "id", Newest: true, Limit: 200})
	query("a message of anybody", false, "Index Scan using messages_id on messages Index Cond: (id = 'id'::text)", message.Query{ID: "id"})
	query("a pending message of anybody", true, "Index Scan using messages_id on messages Index Cond: (id = 'id'::text)", message.Query{ID: "id", Open: true, After: 1, Limit: 256})
	query("a sender's newest", false, "Index Scan Backward using messages_sender on messages Index Cond: (sender = 'user1@example.com'::text)", message.Query{From: sender, Newest: true, Limit: 20})
	query("a request", false, "Index Scan using messages_scope on messages Index Cond: (scope = 'scope'::text)", message.Query{Scope: "scope"})
	query("the oldest", false, "Index Scan using messages_open on messages", message.Query{Open: true, Limit: 1})
	query("a page of what is pending", false, "Index Scan using messages_open on messages Index Cond: (seq > '1'::bigint)", message.Query{Open: true, After: 1, Limit: 256})
	query("what has no outcome", false, "Index Scan using messages_unconfirmed on messages Index Cond: (seq > '1'::bigint)", message.Query{State: message.Unconfirmed, After: 1, Limit: 512})
	query("some", false, "Index Cond: (seq = ANY ('{1,2,3}'::bigint[]))", message.Query{Seqs: []int64{1, 2, 3}})
	add("a claim", false, "using messages_line on messages Index Cond: (sender = lines_1.sender); using messages_pkey on messages messages_1 Index Cond: (seq = page_1.seq); using messages_pkey on messages messages_2 Index Cond: (seq = free.seq)", claimLines, 1, []string{string(sender)}, []int64{0}, 128)
	text, list := s.engine.stopping([]int64{1, 2})
	add("who waits no more", false, "Index Cond: (seq = ANY ('{1,2}'::bigint[]))", text, list)
	put := rows{of: []row{{&putting{records: make([]message.Record, 1), contents: make([][]byte, 1)}, 0}}}
	add("a request that may be known", false, "using messages_scope on messages messages_1 Index Cond: (scope = given_1.scope)", putNew, append(put.columns(), put.firsts())...)
	made := changes{of: []changing{{&settling{changes: make([]message.Change, 1), contents: make([][]byte, 1)}, 0}}}
	add("a change", false, "using messages_pkey on messages Index Cond: (seq = new.seq)", changeAll, made.columns()...)
	add("the bound of what is remembered", false, "Index Only Scan Backward using messages_done on messages", beyond, 10)
	add("what is forgotten", true, "using messages_done on messages messages_1 Index Cond: (wake <= '1'::bigint); using messages_pkey on messages", forgetting, 1, 10)
	add("an original", true, "Index Scan using originals_pkey on originals Index Cond: ((sender = 'user1@example.com'::text) AND (recipient = 'you'::text) AND (about = 'x'::text))", original, string(sender), "you", "x", 1)
	add("a sender's too many", true, "using originals_sender on originals originals_1 Index Cond: (sender = 'user1@example.com'::text); using originals_sender on originals Index Cond: ((sender = 'user1@example.com'::text) AND (expires <= $1))", tooMany, string(sender), 1)
	add("the bound of all", false, "using originals_expires on originals", beyondOriginals, 1)
	add("what is over", true, "using originals_expires on originals originals_1 Index Cond: (expires <= '1'::bigint); using originals_pkey on originals", over, 1, 1)
	return plans
}

// fillTables puts a hundred thousand messages into a database, of which some are pending.
func fillTables(t *testing.T, at string) {
	t.Helper()
	err := server.Server(t).Do(at, `INSERT INTO messages (`+allColumns+`)
		SELECT i, 'user' || i % 100 || '@example.com', 'you@example.com', md5(i::text), decode(repeat('00', 100), 'hex'),
			CASE WHEN i > 95000 THEN 'queued' WHEN i > 94900 THEN 'unconfirmed' WHEN i > 94800 THEN 'waiting' ELSE 'delivered' END,
			1, '', '', i, i, 1000, CASE WHEN i % 2 = 0 THEN md5(i::text) ELSE '' END, '', i, 0, 0, 0 FROM generate_series(1, 100000) AS i`,
		`INSERT INTO originals SELECT 'user' || i % 100 || '@example.com', 'you', md5(i::text), 'x', i FROM generate_series(1, 20000) AS i`, `ANALYZE`)
	if err != nil {
		t.Fatal(err)
	}
}

// planShared gives how PostgreSQL would do something, in one line, without costs.
func planShared(t *testing.T, s *Store, query string, args []any) string {
	t.Helper()
	rows, err := s.database.readers.QueryContext(t.Context(), "EXPLAIN (COSTS OFF) "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var step string
		if err := rows.Scan(&step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, strings.Fields(step)...)
	}
	return strings.Join(steps, " ")
}
