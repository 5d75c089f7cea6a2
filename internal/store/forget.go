package store

import (
	"context"
	"time"
)

// beyond is the newest time of a final record of which there are too many.
const beyond = `SELECT coalesce((SELECT wake FROM messages WHERE NOT ` + open + ` ORDER BY wake DESC LIMIT 1 OFFSET $1), 0)`

// forgetting removes some final records whose time is over. It asks once more of each row
// that it has: by then another instance may have put it back in line.
const forgetting = `DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE wake <= $1 AND NOT ` + open + ` ORDER BY wake LIMIT $2)
	AND wake <= $1 AND NOT ` + stillOpen

// maxForgotten bounds what one transaction removes, and with it how long it keeps
// others from writing.
const maxForgotten = 1024

// Forget removes final records whose time is over, and the oldest of those that
// are more than keep, and originals in the same way. It gives how many it removed,
// with an error too.
func (s *Store) Forget(ctx context.Context, now time.Time, keep int) (removed int, err error) {
	n, err := s.forget(ctx, now, beyond, keep, forgetting)
	if err != nil {
		return n, err
	}
	originals, err := s.forget(ctx, now, beyondOriginals, maxOriginals, over)
	return n + originals, err
}

// forget asks once which are too many, which takes a while where many are kept, and
// removes those, and what is over, by and by.
func (s *Store) forget(ctx context.Context, now time.Time, beyond string, keep int, statement string) (removed int, err error) {
	until := now.UnixNano()
	err = s.ask(ctx, countLimit, readersOf, func(c *connection) error {
		newest, err := c.number(beyond, keep)
		until = max(until, newest)
		return err
	})
	for n := int64(maxForgotten); n == maxForgotten && err == nil; {
		err = s.commitOnce(ctx, func(c *connection) (err error) { n, err = c.exec(statement, until, maxForgotten); return err })
		if err == nil {
			removed += int(n)
		}
	}
	return removed, err
}
