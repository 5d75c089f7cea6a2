package store

import (
	"context"
	"encoding/json"
	"runtime"
	"time"

	"posthorn/internal/message"
)

// A write is a part of the next transaction.
type write struct {
	do   func(*connection) error
	done chan error // capacity 1: Run does not wait for who has gone
}

// commitOnce lets Run do something in a transaction, and waits until it is on
// disk. ctx bounds the wait for a place alone: what has begun has an outcome.
func (s *Store) commitOnce(ctx context.Context, do func(*connection) error) error {
	if err := s.Failure(); err != nil {
		return unavailable(err)
	}
	w := &write{do, make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.ended:
		return unavailable(errEnded)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-s.ended:
	}
	select {
	case err := <-w.done: // it was the last
		return err
	default:
		return unavailable(errEnded)
	}
}

// write commits w together with all that wait beside it. One of them that cannot
// be written, whatever state the database is in, does not take the others with it.
func (s *Store) write(w *write) {
	batch := s.withWaiting(w)
	err := s.transact(batch)
	if refused(err) && len(batch) > 1 {
		for i := range batch {
			s.tell(batch[i:i+1], s.transact(batch[i:i+1]))
		}
		return
	}
	s.tell(batch, err)
}

// withWaiting gives w and the writes that wait.
func (s *Store) withWaiting(w *write) []*write {
	// Whoever was just told, or is about to write, comes first: with one processor
	// Run would else go from commit to commit, and few would share each.
	runtime.Gosched()
	batch := []*write{w}
	for len(batch) < maxBatch {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
			continue
		default:
		}
		break
	}
	return batch
}

// tell tells a batch what became of it.
func (s *Store) tell(batch []*write, err error) {
	if !refused(err) {
		s.setFailure(err)
		if err != nil {
			err = unavailable(err)
		}
	}
	for _, w := range batch {
		w.done <- err
	}
}

// transact commits a batch, an empty one to see whether that works.
func (s *Store) transact(batch []*write) error {
	if s.writer == nil {
		return s.Failure()
	}
	began := time.Now()
	err := s.writer.transact(func() error {
		if len(batch) == 0 {
			return s.writer.try()
		}
		for _, w := range batch {
			if err := w.do(s.writer); err != nil {
				return err
			}
		}
		return nil
	})
	s.commit.Observe(time.Since(began).Seconds())
	if err == nil {
		return nil
	}
	if !passes(err) {
		s.closeDatabase() // it is looked at again before it is used
	}
	return explain(s.opts.Path, err)
}

// transact commits what do does, or nothing of it.
func (c *connection) transact(do func() error) error {
	if _, err := c.conn.ExecContext(context.Background(), `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = c.conn.ExecContext(context.Background(), `COMMIT`)
	}
	if err != nil {
		_, _ = c.conn.ExecContext(context.Background(), `ROLLBACK`) // some errors have done so already
		c.dataVersion = 0                                           // who has asked for it was not told
	}
	return err
}

// Put keeps records, all or none, and returns when they are on disk. Where they
// have a Scope of which there are records already, it keeps nothing and gives
// those. numbered is called before anybody else can see the records, which have
// their Seq by then; again, where the store had to begin anew.
func (s *Store) Put(ctx context.Context, records []message.Record, numbered func()) (earlier []message.Record, err error) {
	contents := make([][]byte, len(records))
	for i := range records {
		if !records[i].State.Pending() {
			continue
		}
		if contents[i], err = json.Marshal(records[i].Message); err != nil { // #nosec G117 -- a room asks for its password when the message is sent
			return nil, err
		}
	}
	err = s.commitOnce(ctx, func(c *connection) (err error) {
		if scope := records[0].Scope; scope != "" {
			if earlier, err = c.find(message.Query{Scope: scope}); err != nil || len(earlier) > 0 {
				return err
			}
		}
		numbered()
		for i := range records {
			if err := c.insert(&records[i], i, contents[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return earlier, err
}

// insert keeps a record, the one of that part of its request.
func (c *connection) insert(r *message.Record, part int, content []byte) error {
	waits := 0
	if r.Waits {
		waits = 1
	}
	_, err := c.exec(`INSERT INTO messages (seq, sender, recipient, id, content, state, attempts, code, detail, expires, wake, size, scope, digest, accepted, part, term, waits)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		r.Seq, string(r.From), string(r.To), r.ID, content, string(r.State), r.Attempts, r.Code, r.Detail, r.Expires.UnixNano(), r.Wake.UnixNano(), r.Size, r.Scope, r.Digest, r.Accepted.UnixNano(), part, r.Term, waits)
	return err
}

// Settle writes what has become of records, and gives for each whether it was
// still what it was before. The texts of those that are final are dropped; a record
// that is pending again gets the Message that it is given.
func (s *Store) Settle(ctx context.Context, changes []message.Change) (applied []bool, err error) {
	contents := make([][]byte, len(changes))
	for i := range changes {
		if c := &changes[i]; c.State.Pending() && !c.Before.Pending() {
			if contents[i], err = json.Marshal(c.Message); err != nil { // #nosec G117 -- a room asks for its password when the message is sent
				return nil, err
			}
		}
	}
	err = s.commitOnce(ctx, func(c *connection) error {
		applied = make([]bool, len(changes))
		for i := range changes {
			if applied[i], err = c.settle(&changes[i], contents[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return applied, err
}

func (c *connection) settle(change *message.Change, content []byte) (applied bool, err error) {
	text := `NULL`
	args := []any{change.Seq, string(change.Before), string(change.State), change.Attempts, change.Code, change.Detail, change.Wake.UnixNano(), change.Expires.UnixNano()}
	switch {
	case content != nil:
		text = `$9`
		args = append(args, content)
	case change.State.Pending():
		text = `content`
	}
	n, err := c.exec(`UPDATE messages SET state = $3, attempts = $4, code = $5, detail = $6, wake = $7, expires = $8, content = `+text+`
		WHERE seq = $1 AND state = $2`, args...)
	return n > 0, err
}

// beyond is the newest time of a final record of which there are too many.
const beyond = `SELECT coalesce((SELECT wake FROM messages WHERE NOT ` + open + ` ORDER BY wake DESC LIMIT 1 OFFSET $1), 0)`

// maxForgotten bounds what one transaction removes, and with it how long it keeps
// others from writing.
const maxForgotten = 1024

// Forget removes final records whose time is over, and the oldest of those that
// are more than keep, and originals in the same way. It gives how many it removed,
// with an error too.
func (s *Store) Forget(ctx context.Context, now time.Time, keep int) (removed int, err error) {
	for _, forget := range []func(*connection) (int64, error){
		func(c *connection) (int64, error) { return c.forgetRecords(now, keep) },
		func(c *connection) (int64, error) { return c.forgetOriginals(now) },
	} {
		for n := int64(maxForgotten); n == maxForgotten; removed += int(n) {
			if err := s.commitOnce(ctx, func(c *connection) (err error) { n, err = forget(c); return err }); err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

func (c *connection) forgetRecords(now time.Time, keep int) (removed int64, err error) {
	until, err := c.number(beyond, keep)
	if err != nil {
		return 0, err
	}
	return c.exec(`DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE wake <= $1 AND NOT `+open+` ORDER BY wake LIMIT $2)`, max(until, now.UnixNano()), maxForgotten)
}
