package store

import (
	"context"
	"time"
)

const (
	// beyond is the newest time of a final record of which there are too many.
	beyond = `SELECT coalesce((SELECT wake FROM messages WHERE NOT ` + open + ` ORDER BY wake DESC LIMIT 1 OFFSET $1), 0)`
	// forgetting removes some final records whose time is over.
	forgetting = `DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE wake <= $1 AND NOT ` + open + ` ORDER BY wake LIMIT $2)`
	// maxForgotten bounds what one transaction removes, and with it how long it keeps
	// others from writing.
	maxForgotten = 1024
)

// Forget removes final records whose time is over, and the oldest of those that
// are more than keep, and originals in the same way. It gives how many it removed,
// with an error too.
func (s *Store) Forget(ctx context.Context, now time.Time, keep int) (removed int, err error) {
	records, err := s.forget(ctx, now, beyond, keep, forgetting)
	if err != nil {
		return records, err
	}
	originals, err := s.forget(ctx, now, beyondOriginals, maxOriginals, over)
	return records + originals, err
}

// forget removes in several transactions what ends by now, or by when those end of which
// there are too many.
func (s *Store) forget(ctx context.Context, now time.Time, beyond string, keep int, remove string) (removed int, err error) {
	var until int64
	err = s.commitOnce(ctx, func(c *connection) (err error) { until, err = c.number(beyond, keep); return err })
	for n := int64(maxForgotten); err == nil && n == maxForgotten; removed += int(n) {
		n = 0
		err = s.commitOnce(ctx, func(c *connection) (err error) {
			n, err = c.exec(remove, max(until, now.UnixNano()), maxForgotten)
			return err
		})
	}
	return removed, err
}
