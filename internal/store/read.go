package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"posthorn/internal/message"
)

// Select gives the records that a query means, as they are on disk.
func (s *Store) Select(ctx context.Context, q message.Query) ([]message.Record, error) {
	reader, err := s.openedReader()
	if err != nil {
		return nil, err
	}
	text, args := selection(q)
	rows, err := reader.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, s.unreadable(err)
	}
	records, err := scan(rows)
	if err != nil {
		return nil, s.unreadable(err)
	}
	return records, nil
}

// unreadable is the error for who wanted something read. Run is told where the
// database is to blame: what cannot be read is not kept.
func (s *Store) unreadable(err error) error {
	explained := explain(s.opts.Path, err)
	if broken(err) {
		select {
		case s.doubts <- explained:
		default:
		}
	}
	return unavailable(explained)
}

func (s *Store) openedReader() (*sql.DB, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.reader == nil {
		return nil, unavailable(s.failure)
	}
	return s.reader, nil
}

// find is Select for who writes.
func (c *connection) find(q message.Query) ([]message.Record, error) {
	text, args := selection(q)
	rows, err := c.query(text, args...)
	if err != nil {
		return nil, err
	}
	return scan(rows)
}

// selection writes q as SQL.
func selection(q message.Query) (string, []any) {
	var conditions []string
	var args []any
	where := func(condition string, value any) {
		args = append(args, value)
		conditions = append(conditions, fmt.Sprintf("%s $%d", condition, len(args)))
	}
	order := "seq"
	if q.From != "" {
		where("sender =", string(q.From))
	}
	if q.ID != "" {
		where("id =", q.ID)
	}
	if q.Scope != "" {
		where("scope <> '' AND scope =", q.Scope)
	}
	if q.After != 0 {
		where("seq >", q.After)
	}
	if !q.WakeBy.IsZero() {
		where("wake <=", q.WakeBy.UnixNano())
		order = "wake"
	}
	if q.State != "" { // as it stands, or an index on that state is not used
		conditions = append(conditions, "state = '"+string(q.State)+"'")
	}
	if q.Open {
		conditions = append(conditions, open)
	}
	if q.Final {
		conditions = append(conditions, "NOT "+open)
	}
	text := "SELECT seq, sender, recipient, id, content, state, attempts, code, detail, expires, wake, size, scope, digest, accepted, term, waits FROM messages"
	if len(conditions) > 0 {
		text += " WHERE " + strings.Join(conditions, " AND ")
	}
	text += " ORDER BY " + order
	if q.Newest {
		text += " DESC"
	}
	if q.Limit > 0 {
		args = append(args, q.Limit)
		text += fmt.Sprintf(" LIMIT $%d", len(args))
	}
	return text, args
}

// scan reads all rows and closes them.
func scan(rows *sql.Rows) (records []message.Record, err error) {
	defer rows.Close()
	for rows.Next() {
		var r message.Record
		var content []byte
		var expires, wake, accepted, waits int64
		if err := rows.Scan(&r.Seq, &r.From, &r.To, &r.ID, &content, &r.State, &r.Attempts, &r.Code, &r.Detail, &expires, &wake, &r.Size, &r.Scope, &r.Digest, &accepted, &r.Term, &waits); err != nil {
			return nil, err
		}
		r.Expires, r.Wake = time.Unix(0, expires), time.Unix(0, wake)
		r.Accepted, r.Waits = time.Unix(0, accepted), waits != 0
		if content != nil {
			r.Message = new(message.Message)
			if err := json.Unmarshal(content, r.Message); err != nil {
				return nil, fmt.Errorf("message %d %w: %w", r.Seq, errUnreadable, err)
			}
		}
		records = append(records, r)
	}
	return records, rows.Err()
}

// Tally counts what is kept, with every write before it and none after it.
func (s *Store) Tally(ctx context.Context) (piles []message.Pile, last int64, err error) {
	err = s.commitOnce(ctx, func(c *connection) error {
		if last, err = c.number(`SELECT coalesce(max(seq), 0) FROM messages`); err != nil {
			return err
		}
		piles, err = c.tally()
		return err
	})
	return piles, last, err
}

func (c *connection) tally() (piles []message.Pile, err error) {
	rows, err := c.query(`SELECT sender, recipient, state, count(*), sum(size) FROM messages WHERE ` + open + ` GROUP BY sender, recipient, state
		UNION ALL SELECT '', '', '', count(*), 0 FROM messages WHERE NOT ` + open)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p message.Pile
		if err := rows.Scan(&p.From, &p.To, &p.State, &p.Count, &p.Size); err != nil {
			return nil, err
		}
		piles = append(piles, p)
	}
	return piles, rows.Err()
}

// Changed reports whether the database may hold something else than at the last
// call: because another process has written, or it was opened since.
func (s *Store) Changed(ctx context.Context) (changed bool, err error) {
	err = s.commitOnce(ctx, func(c *connection) error {
		version, err := c.number(`PRAGMA data_version`)
		changed = version != c.dataVersion
		c.dataVersion = version
		return err
	})
	return changed, err
}
