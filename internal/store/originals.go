package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"posthorn/internal/message"
)

// How many originals are known, of some 300 bytes each: of one sender, so that none
// pushes out those of others, and of all.
const (
	maxOriginalsOfOne = 5_000
	maxOriginals      = 100_000
)

// Originals gives the id of what a message about key from a sender corrects, for each
// of its recipients; "" where there is none now.
func (s *Store) Originals(ctx context.Context, from message.JID, to []message.JID, key string, now time.Time) (ids []string, err error) {
	ids = make([]string, len(to))
	err = s.read(ctx, func(ctx context.Context, readers *sql.DB) error {
		for i, recipient := range to {
			err := readers.QueryRowContext(ctx, original, string(from), string(recipient), hashOf(key), now.UnixNano()).Scan(&ids[i])
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// hashOf is short, however long the key is.
func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// KeepOriginals keeps what later messages correct, each in the place of an earlier
// one. All are of one sender.
func (s *Store) KeepOriginals(ctx context.Context, originals []message.Original) error {
	// In one order, so that two instances do not wait for each other in a circle.
	originals = slices.Clone(originals)
	slices.SortStableFunc(originals, func(a, b message.Original) int { return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Key, b.Key)) })
	return s.commitOnce(ctx, func(c *connection) error {
		for _, o := range originals {
			if _, err := c.exec(keepOriginal, string(o.From), string(o.To), hashOf(o.Key), o.ID, o.Expires.UnixNano()); err != nil {
				return err
			}
		}
		_, err := c.exec(tooMany, string(originals[0].From), maxOriginalsOfOne)
		return err
	})
}

const (
	original     = `SELECT id FROM originals WHERE sender = $1 AND recipient = $2 AND about = $3 AND expires > $4`
	keepOriginal = `INSERT INTO originals (sender, recipient, about, id, expires) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (sender, recipient, about) DO UPDATE SET id = excluded.id, expires = excluded.expires`
	// beyondOfOne and beyondOriginals are when the newest of those ends of which there
	// are too many.
	beyondOfOne     = `SELECT coalesce((SELECT expires FROM originals WHERE sender = $1 ORDER BY expires DESC LIMIT 1 OFFSET $2), 0)`
	beyondOriginals = `SELECT coalesce((SELECT expires FROM originals ORDER BY expires DESC LIMIT 1 OFFSET $1), 0)`

	tooMany = `DELETE FROM originals WHERE sender = $1 AND expires <= (` + beyondOfOne + `)`
	// over asks once more, as forgetting does.
	over = `DELETE FROM originals WHERE (sender, recipient, about) IN (SELECT sender, recipient, about FROM originals WHERE expires <= $1 LIMIT $2) AND expires + 0 <= $1`
)
