package store

import (
	"context"
	"time"
)

// beyond is the newest time of a final record of which there are too many.
const beyond = `SELECT coalesce((SELECT wake FROM messages WHERE NOT ` + open + ` ORDER BY wake DESC LIMIT 1 OFFSET $1), 0)`

// forgetting removes some final records whose time is over.
const forgetting = `DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE wake <= $1 AND NOT ` + open + ` ORDER BY wake LIMIT $2)`

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
	return c.exec(forgetting, max(until, now.UnixNano()), maxForgotten)
}
