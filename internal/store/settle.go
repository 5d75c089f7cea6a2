package store

import (
	"context"
	"encoding/json"
	"slices"

	"posthorn/internal/message"
)

// A settling is a Settle under way.
type settling struct {
	changes  []message.Change
	contents [][]byte // of the messages that come back
	applied  []bool   // what came of it
}

// Settle writes what has become of records, and gives for each whether it was still what
// it was before, claimed under no later term than it says, and Under the lease's term. The
// texts of those that are final are dropped; a record that is pending again gets the
// Message that it is given. Where somebody waited for the outcome and does no more, it
// does not become Failed. The error is of the kind Unconfirmed where a record was to be
// pending again and nobody knows whether it is.
func (s *Store) Settle(ctx context.Context, changes []message.Change) (applied []bool, err error) {
	p := &settling{changes: changes, contents: make([][]byte, len(changes)), applied: make([]bool, len(changes))}
	for i := range changes {
		if c := &changes[i]; c.State.Pending() && !c.Before.Pending() {
			if p.contents[i], err = json.Marshal(c.Message); err != nil { // #nosec G117 -- a room asks for its password when the message is sent
				return nil, err
			}
		}
	}
	if err := s.enqueue(ctx, &write{settle: p}); err != nil {
		return nil, err
	}
	return p.applied, nil
}

// revives reports whether a record that was over is to be pending again.
func (p *settling) revives() bool {
	return slices.ContainsFunc(p.contents, func(content []byte) bool { return content != nil })
}

// settle writes the changes of p one by one.
func (c *connection) settle(p *settling) (err error) {
	for i := range p.changes {
		if p.applied[i], err = c.change(&p.changes[i], p.contents[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *connection) change(change *message.Change, content []byte) (applied bool, err error) {
	text := `NULL`
	args := []any{change.Seq, string(change.Before), string(change.State), change.Attempts, change.Code, change.Detail, change.Wake.UnixNano(), change.Expires.UnixNano(),
		change.Term, change.Under, flag(change.Waits), flag(!change.Before.Pending())}
	switch {
	case content != nil:
		text = `$13`
		args = append(args, content)
	case change.State.Pending():
		text = `content`
	}
	n, err := c.exec(`UPDATE messages SET state = $3, attempts = $4, code = $5, detail = $6, wake = $7, expires = $8, content = `+text+`,
			waits = CASE WHEN $12 THEN $11 ELSE min(waits, $11) END
		WHERE seq = $1 AND state = $2 AND term <= $9 AND ($10 = 0 OR EXISTS (SELECT 1 FROM leases WHERE name = 'stream' AND term = $10))
			AND ($3 <> 'failed' OR $12 OR waits >= $11)`, args...)
	return n > 0, err
}
