package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"posthorn/internal/message"
)

// errLost: the lease is of another term by now.
var errLost = errors.New("store: another instance has the lease")

// claimLimit bounds a claim.
const claimLimit = 5 * time.Second

// Claim gives for each line what is next in it, at most so many records, in the order of
// Seq, each marked as claimed under that term of the lease on the stream; and whether there
// may be more. No two lines are of one sender. errLost where the lease has another term.
//
// What was not claimed under the term is meant whether or not it is behind q.After: one
// that got its number before others may be there after them, and must not be passed by
// what comes then.
//
// It waits for nobody and for no disk. Where a record is locked by somebody else, it gives
// those before it, so that none overtakes it. A claim that a crash forgets harms nothing:
// its stream has ended too, or it is made again.
func (s *Store) Claim(ctx context.Context, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error) {
	lost := false
	err = s.ask(ctx, claimLimit, readersOf, func(c *connection) (err error) {
		if records, more, err = c.engine.claim(c, term, lines, limit); err != nil || slices.ContainsFunc(records, func(line []message.Record) bool { return len(line) > 0 }) {
			return err
		}
		is, err := c.number(`SELECT coalesce((SELECT term FROM leases WHERE name = 'stream'), 0)`)
		lost = err == nil && is != term
		return err
	})
	if lost {
		return nil, nil, errLost
	}
	return records, more, err
}

// claimLine is a claim of one line, for an engine that has one writer.
const claimLine = `UPDATE messages SET term = $1
	WHERE seq IN (SELECT seq FROM messages WHERE sender = $2 AND (seq > $3 OR term < $1) AND state = 'queued' AND term <= $1 ORDER BY seq LIMIT $4)
		AND EXISTS (SELECT 1 FROM leases WHERE name = 'stream' AND term = $1)
	RETURNING ` + columns

func claimSQLite(c *connection, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error) {
	for _, line := range lines {
		rows, err := c.query(claimLine, term, string(line.From), line.After, limit)
		if err != nil {
			return nil, nil, err
		}
		claimed, err := scan(rows)
		if err != nil {
			return nil, nil, err
		}
		slices.SortFunc(claimed, bySeq)
		records, more = append(records, claimed), append(more, len(claimed) == limit)
	}
	return records, more, nil
}

// claimLines is a claim of many lines. A page of each is read before it is locked, so that
// it can be told what of it could not be. That a record is still in line is said in a way
// of which no index knows, or PostgreSQL, while it takes the table for an empty one, would
// read all that is in line for each.
const claimLines = `WITH lines AS MATERIALIZED (SELECT * FROM unnest($2::text[], $3::bigint[]) AS lines (sender, after)),
		page AS MATERIALIZED (SELECT next.* FROM lines CROSS JOIN LATERAL
			(SELECT seq, sender FROM messages WHERE sender = lines.sender AND (seq > lines.after OR term < $1) AND state = 'queued' AND term <= $1 ORDER BY seq LIMIT $4) AS next),
		free AS MATERIALIZED (SELECT seq FROM messages WHERE seq IN (SELECT seq FROM page) FOR UPDATE SKIP LOCKED),
		claimed AS (UPDATE messages SET term = $1
			WHERE seq IN (SELECT seq FROM free) AND state || '' = 'queued' AND term <= $1
				AND EXISTS (SELECT 1 FROM leases WHERE name = 'stream' AND term = $1)
			RETURNING ` + columns + `)
	SELECT * FROM claimed UNION ALL
	SELECT seq, sender, '', '', NULL, CASE WHEN seq IN (SELECT seq FROM free) THEN '` + isGone + `' ELSE '` + isLocked + `' END, 0, '', '', 0, 0, 0, '', '', 0, 0, 0
		FROM page WHERE seq NOT IN (SELECT seq FROM claimed)`

// What stands in the place of the state of what was not claimed.
const (
	isGone   = "gone"   // it is not in line any more
	isLocked = "locked" // somebody else has it in hand
)

func claimPostgres(c *connection, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error) {
	senders, afters, place := make([]string, len(lines)), make([]int64, len(lines)), make(map[message.JID]int)
	for i, line := range lines {
		senders[i], afters[i], place[line.From] = string(line.From), line.After, i
	}
	rows, err := c.query(claimLines, term, senders, afters, limit)
	if err != nil {
		return nil, nil, err
	}
	all, err := scan(rows)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(all, bySeq)
	pages := make([]page, len(lines))
	for i := range all {
		pages[place[all[i].From]].add(&all[i])
	}
	waits := false
	for i := range pages {
		p := &pages[i]
		records, more = append(records, p.records), append(more, p.cut || p.size == limit)
		waits = waits || p.cut && len(p.records) == 0
	}
	if waits {
		sleep(c.ctx, lockedWait)
	}
	return records, more, nil
}

// A page is what is next in one line.
type page struct {
	records []message.Record
	size    int
	cut     bool // it ends before something that is locked
}

func (p *page) add(r *message.Record) {
	p.size++
	switch {
	case r.State == isLocked:
		p.cut = true
	case r.State != isGone && !p.cut:
		p.records = append(p.records, *r)
	}
}

func bySeq(a, b message.Record) int { return cmp.Compare(a.Seq, b.Seq) }

// lockedWait is how long who claims waits where what is first is locked: a commit's time.
const lockedWait = 5 * time.Millisecond

func sleep(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
