package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"posthorn/internal/message"
)

// ErrLost: the lease is of another term by now.
var ErrLost = errors.New("store: another instance has the lease")

// claimLimit bounds a claim.
const claimLimit = 5 * time.Second

// Claim gives the records that q means, each marked as claimed under that term of the
// lease on the stream, in the order of Seq, and whether there may be more. ErrLost where
// the lease has another term.
//
// It waits for nobody and for no disk. Where a record is locked by somebody else, it gives
// those before it, so that none overtakes it. A claim that a crash forgets harms nothing:
// its stream has ended too, or it is made again.
func (s *Store) Claim(ctx context.Context, term int64, q message.Query) (records []message.Record, more bool, err error) {
	lost := false
	err = s.ask(ctx, claimLimit, readersOf, func(c *connection) (err error) {
		records, more, lost, err = c.claim(term, q)
		return err
	})
	if lost {
		err = ErrLost
	}
	return records, more, err
}

func (c *connection) claim(term int64, q message.Query) (records []message.Record, more, lost bool, err error) {
	text, args := claiming(term, q)
	rows, err := c.query(c.engine.spell(text), args...)
	if err != nil {
		return nil, false, false, err
	}
	var page, missing int64
	if records, err = scan(rows, &page, &missing); err != nil {
		return nil, false, false, err
	}
	if len(records) == 0 {
		more, lost, err = c.noneClaimed(term, q)
		return nil, more, lost, err
	}
	slices.SortFunc(records, func(a, b message.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	if missing != 0 {
		records = slices.DeleteFunc(records, func(r message.Record) bool { return r.Seq > missing })
	}
	return records, missing != 0 || page == int64(q.Limit), false, nil
}

// claiming writes a claim as SQL. The page is read before it is locked; what of it could
// not be locked ends it.
func claiming(term int64, q message.Query) (string, []any) {
	page, args := selectionOf("seq", q, term)
	return `WITH page AS MATERIALIZED (` + page + `),
			line AS MATERIALIZED (SELECT seq FROM messages WHERE seq IN (SELECT seq FROM page) AND state = 'queued' FOR UPDATE SKIP LOCKED)
		UPDATE messages SET term = $1 WHERE term <= $1 AND seq IN (SELECT seq FROM line)
			AND EXISTS (SELECT 1 FROM leases WHERE name = 'stream' AND term = $1)
		RETURNING ` + columns + `, (SELECT count(*) FROM page), (SELECT coalesce(min(seq), 0) FROM page WHERE seq NOT IN (SELECT seq FROM line))`, args
}

// noneClaimed finds out why nothing was claimed. What is first may be locked: it waits a
// moment for that.
func (c *connection) noneClaimed(term int64, q message.Query) (more, lost bool, err error) {
	is, err := c.number(`SELECT coalesce((SELECT term FROM leases WHERE name = 'stream'), 0)`)
	if err != nil || is != term {
		return false, err == nil, err
	}
	there, args := selectionOf("1", q)
	n, err := c.number(c.engine.spell(`SELECT count(*) FROM (`+there+`) AS line`), args...)
	if err != nil || n == 0 {
		return false, false, err
	}
	sleep(c.ctx, lockedWait)
	return true, false, nil
}

// lockedWait is how long who claims waits for a lock on what is first: a commit's time.
const lockedWait = 5 * time.Millisecond

func sleep(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// StopWaiting notes of those records that are pending that nobody waits for their
// outcome any more, so that none becomes message.Failed, and gives all as they are then.
func (s *Store) StopWaiting(ctx context.Context, seqs []int64) (records []message.Record, err error) {
	q := message.Query{Seqs: seqs}
	err = s.commitOnce(ctx, func(c *connection) error {
		inner, args := selectionOf("seq", q)
		if _, err := c.exec(c.engine.spell(`UPDATE messages SET waits = 0 WHERE `+open+` AND waits <> 0 AND seq IN (`+inner+`)`), args...); err != nil {
			return err
		}
		records, err = c.find(q)
		return err
	})
	return records, err
}
