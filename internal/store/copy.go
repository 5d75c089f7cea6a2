package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"posthorn/internal/message"
)

// Counts are how many were copied.
type Counts struct{ Messages, Tokens, Originals int }

// copyPage is how many are copied at once: one by one, to a database that is far away, they
// take a part of pgLimit.
const copyPage = 256

var errNotEmpty = errors.New("holds something already, and only an empty one can be copied to")

// Copy copies what is kept from one store to another, which must be empty. Neither may
// be in use. What it has copied where it fails stays.
func Copy(ctx context.Context, from, to *Store) (n Counts, err error) {
	if err := to.isEmpty(ctx); err != nil {
		return n, err
	}
	if n.Messages, err = copyMessages(ctx, from, to); err != nil {
		return n, err
	}
	if n.Tokens, err = copyTokens(ctx, from, to); err != nil {
		return n, err
	}
	n.Originals, err = copyOriginals(ctx, from, to)
	return n, err
}

func (s *Store) isEmpty(ctx context.Context) error {
	var n int64
	err := s.read(ctx, func(ctx context.Context, readers *sql.DB) error {
		return readers.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM (SELECT 1 FROM messages LIMIT 1) AS m)
			+ (SELECT count(*) FROM (SELECT 1 FROM tokens LIMIT 1) AS t) + (SELECT count(*) FROM (SELECT 1 FROM originals LIMIT 1) AS o)`).Scan(&n)
	})
	if err == nil && n > 0 {
		err = fmt.Errorf("store: %s %w", s.engine.name, errNotEmpty)
	}
	return err
}

// copyMessages copies messages with their numbers. Nobody waits for their outcomes, and
// the leases that they were claimed under are none of the other database's.
func copyMessages(ctx context.Context, from, to *Store) (n int, err error) {
	for last := int64(0); ; {
		var parts list
		var records []message.Record
		err := from.read(ctx, func(ctx context.Context, readers *sql.DB) error {
			rows, err := readers.QueryContext(ctx, `SELECT `+columns+`, part FROM messages WHERE seq > $1 ORDER BY seq LIMIT $2`, last, copyPage)
			if err != nil {
				return err
			}
			parts = nil
			records, err = scan(rows, &parts)
			return err
		})
		if err != nil || len(records) == 0 {
			return n, errors.Join(err, to.numberFrom(ctx))
		}
		for i := range records {
			records[i].Term, records[i].Waits = 0, false
		}
		p := &putting{records: records, parts: parts}
		if p.contents, err = contentsOf(records); err == nil {
			err = to.enqueue(ctx, &write{put: p})
		}
		if err != nil {
			return n, err
		}
		n += len(records)
		last = records[len(records)-1].Seq
	}
}

// A list gathers the numbers of a column.
type list []int64

// Scan implements sql.Scanner.
func (l *list) Scan(value any) error {
	n, ok := value.(int64)
	if !ok {
		return fmt.Errorf("%T is no number", value)
	}
	*l = append(*l, n)
	return nil
}

// numberFrom lets the next number be one that no message has.
func (s *Store) numberFrom(ctx context.Context) error {
	if s.others == nil {
		return nil
	}
	return s.commitOnce(ctx, func(c *connection) error {
		_, err := c.exec(`SELECT setval('messages_seq', (SELECT max(seq) FROM messages))`)
		return err
	})
}

func copyTokens(ctx context.Context, from, to *Store) (n int, err error) {
	tokens, err := from.Tokens(ctx, "")
	if err != nil {
		return 0, err
	}
	for page := range slices.Chunk(tokens, copyPage) {
		err := to.commitOnce(ctx, func(c *connection) error {
			for i := range page {
				if added, err := c.insertToken(&page[i]); err != nil || !added {
					return cmp.Or(err, sameName(&page[i]))
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += len(page)
	}
	return n, nil
}

// A keptOriginal is a message.Original as it is kept.
type keptOriginal struct {
	sender, recipient, about, id string
	expires                      int64
}

func copyOriginals(ctx context.Context, from, to *Store) (n int, err error) {
	for after := (keptOriginal{}); ; {
		page, err := from.originalsAfter(ctx, after)
		if err != nil || len(page) == 0 {
			return n, err
		}
		err = to.commitOnce(ctx, func(c *connection) error {
			for _, o := range page {
				if _, err := c.exec(keepOriginal, o.sender, o.recipient, o.about, o.id, o.expires); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += len(page)
		after = page[len(page)-1]
	}
}

func (s *Store) originalsAfter(ctx context.Context, after keptOriginal) (page []keptOriginal, err error) {
	err = s.read(ctx, func(ctx context.Context, readers *sql.DB) error {
		page = nil
		rows, err := readers.QueryContext(ctx, `SELECT sender, recipient, about, id, expires FROM originals
			WHERE (sender, recipient, about) > ($1, $2, $3) ORDER BY sender, recipient, about LIMIT $4`, after.sender, after.recipient, after.about, copyPage)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o keptOriginal
			if err := rows.Scan(&o.sender, &o.recipient, &o.about, &o.id, &o.expires); err != nil {
				return err
			}
			page = append(page, o)
		}
		return rows.Err()
	})
	return page, err
}
