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
func (s *Store) Select(ctx context.Context, q message.Query) (records []message.Record, err error) {
	text, args := s.engine.selection(q)
	err = s.read(ctx, func(ctx context.Context, readers *sql.DB) error {
		rows, err := readers.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		records, err = scan(rows)
		return err
	})
	return records, err
}

// read lets do read, once more where the connection was lost. What cannot be read is not
// kept: Run is told where the database is to blame.
func (s *Store) read(ctx context.Context, do func(context.Context, *sql.DB) error) error {
	d, err := s.reachable()
	if err != nil {
		return unavailable(err)
	}
	if s.engine.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.engine.limit)
		defer cancel()
	}
	err = do(ctx, d.readers)
	if s.engine.judge(err) == lost && ctx.Err() == nil {
		err = do(ctx, d.readers)
	}
	switch s.engine.judge(err) {
	case fine, unfit: // what the database cannot keep is not there
		return nil
	case damaged:
		select {
		case s.doubts <- s.explain(err):
		default:
		}
	}
	return unavailable(s.explain(err))
}

// find is Select for who writes.
func (c *connection) find(q message.Query) ([]message.Record, error) {
	text, args := c.engine.selection(q)
	rows, err := c.query(text, args...)
	if err != nil {
		return nil, err
	}
	return scan(rows)
}

// columns are those that scan reads.
const columns = "seq, sender, recipient, id, content, state, attempts, code, detail, expires, wake, size, scope, digest, accepted, term, waits"

// selection writes q as SQL.
func (e *engine) selection(q message.Query) (string, []any) {
	conditions, args := e.conditions(q)
	text := "SELECT " + columns + " FROM messages"
	if len(conditions) > 0 {
		text += " WHERE " + strings.Join(conditions, " AND ")
	}
	order := "seq"
	if !q.WakeBy.IsZero() {
		order = "wake"
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

// conditions gives what all that q means have in common.
func (e *engine) conditions(q message.Query) (conditions []string, args []any) {
	where := func(condition string, value any) {
		args = append(args, value)
		conditions = append(conditions, fmt.Sprintf("%s $%d", condition, len(args)))
	}
	if q.From != "" {
		where("sender =", string(q.From))
	}
	if q.ID != "" {
		where("id =", q.ID)
	}
	if q.Scope != "" {
		where("scope <> '' AND scope =", q.Scope)
	}
	if q.Seqs != nil {
		condition, list := e.among(len(args)+1, q.Seqs)
		conditions, args = append(conditions, condition), append(args, list)
	}
	if q.After != 0 {
		where("seq >", q.After)
	}
	if !q.WakeBy.IsZero() {
		where("wake <=", q.WakeBy.UnixNano())
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
	return conditions, args
}

// scan reads all rows and closes them. more is where columns go that follow those of a
// record.
func scan(rows *sql.Rows, more ...any) (records []message.Record, err error) {
	defer rows.Close()
	for rows.Next() {
		var r message.Record
		var content []byte
		var expires, wake, accepted, waits int64
		into := append([]any{&r.Seq, &r.From, &r.To, &r.ID, &content, &r.State, &r.Attempts, &r.Code, &r.Detail, &expires, &wake, &r.Size, &r.Scope, &r.Digest, &accepted, &r.Term, &waits}, more...)
		if err := rows.Scan(into...); err != nil {
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

// Tally counts what is pending, with every write before it and none after it.
func (s *Store) Tally(ctx context.Context) (piles []message.Pile, last int64, err error) {
	began := time.Now()
	err = s.ask(ctx, countLimit, readersOf, func(c *connection) error {
		if last, err = c.number(`SELECT coalesce(max(seq), 0) FROM messages`); err != nil {
			return err
		}
		piles, err = c.tally()
		return err
	})
	s.mu.Lock()
	s.counting = time.Since(began)
	s.mu.Unlock()
	return piles, last, err
}

func (c *connection) tally() (piles []message.Pile, err error) {
	rows, err := c.query(`SELECT sender, recipient, state, count(*), sum(size) FROM messages WHERE ` + open + ` GROUP BY sender, recipient, state`)
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
	return s.engine.changed(ctx, s)
}
