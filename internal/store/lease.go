package store

import (
	"context"
	"time"

	"posthorn/internal/message"
)

// Times are the database's: the clocks of instances differ. A lease that lasts for longer
// than any does was made before the database's clock was set back, and is over.
const (
	leased    = `holder, term, CASE WHEN expires - now_ns() < 60000000000 THEN expires - now_ns() ELSE 0 END, stream`
	readLease = `SELECT ` + leased + ` FROM leases WHERE name = 'stream'`
	takeLease = `INSERT INTO leases (name, holder, term, expires, stream) VALUES ('stream', $1, 1, now_ns() + $2, '')
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = leases.term + 1, expires = now_ns() + $2, stream = ''
		WHERE leases.expires - now_ns() NOT BETWEEN 1 AND 60000000000 RETURNING ` + leased
	renewLease   = `UPDATE leases SET expires = now_ns() + $3, stream = $4 WHERE name = 'stream' AND holder = $1 AND term = $2`
	releaseLease = `UPDATE leases SET holder = '', expires = 0, stream = '' WHERE name = 'stream' AND holder = $1 AND term = $2`
)

// leaseLimit bounds what is asked about the lease, where who asks knows no better.
const leaseLimit = 5 * time.Second

// leaseTopic is what others are told about when the lease changes.
const leaseTopic = "lease"

// ReadLease gives the lease as it is.
func (s *Store) ReadLease(ctx context.Context) (l message.Lease, err error) {
	err = s.askLease(ctx, func(c *connection) error {
		_, err := c.lease(&l, readLease)
		return err
	})
	return l, err
}

// TakeLease gives the lease to holder, for so long, if it is nobody's. It gives the lease
// as it is then.
func (s *Store) TakeLease(ctx context.Context, holder string, life time.Duration) (l message.Lease, taken bool, err error) {
	err = s.askLease(ctx, func(c *connection) (err error) {
		if taken, err = c.lease(&l, takeLease, holder, int64(life)); taken || err != nil {
			return err
		}
		_, err = c.lease(&l, readLease)
		return err
	})
	if taken {
		s.noteStream("")
		_ = s.Tell(leaseTopic, "")
	}
	return l, taken, err
}

func (c *connection) lease(l *message.Lease, statement string, args ...any) (found bool, err error) {
	rows, err := c.query(c.engine.spell(statement), args...)
	if err != nil {
		return false, err
	}
	return one(rows, &l.Holder, &l.Term, &l.Left, &l.Stream)
}

// RenewLease lets the lease of that term last for so long from now, and says how the
// holder's stream is. It reports false where another has taken it.
func (s *Store) RenewLease(ctx context.Context, holder string, term int64, life time.Duration, stream string) (held bool, err error) {
	held, err = s.changeLease(ctx, renewLease, holder, term, int64(life), stream)
	if held && s.noteStream(stream) {
		_ = s.Tell(leaseTopic, "")
	}
	return held, err
}

// askLease asks about the lease, whatever is known of the database: it has a connection of
// its own, and may work when others do not.
func (s *Store) askLease(ctx context.Context, do func(*connection) error) error {
	d, err := s.opened()
	if err != nil {
		return unavailable(err)
	}
	return s.askOf(ctx, d, leaseLimit, leasesOf, do)
}

// noteStream reports whether the lease says something else of the stream than before.
func (s *Store) noteStream(stream string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = s.stream != stream
	s.stream = stream
	return changed
}

// ReleaseLease ends the lease of that term, if it is the holder's still.
func (s *Store) ReleaseLease(ctx context.Context, holder string, term int64) error {
	held, err := s.changeLease(ctx, releaseLease, holder, term)
	if held {
		_ = s.Tell(leaseTopic, "")
	}
	return err
}

func (s *Store) changeLease(ctx context.Context, statement string, args ...any) (held bool, err error) {
	err = s.askLease(ctx, func(c *connection) error {
		n, err := c.exec(c.engine.spell(statement), args...)
		held = n > 0
		return err
	})
	return held, err
}
