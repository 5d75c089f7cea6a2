package store

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// listenAgain is the time until the next connection to listen on.
	listenAgain = time.Second
	// A connection that is silent for so long is asked whether it lives, and has so long
	// to answer: one that has died is found within ten seconds.
	silence, silenceEnds = 5 * time.Second, 3 * time.Second
)

// meet tells others what this instance does and hears what they do, until ctx ends; what
// stop waits for is that the last is told.
func (s *Store) meet(ctx context.Context) (stop func()) {
	telling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var met sync.WaitGroup
	met.Go(func() { s.tellOthers(telling) })
	if !s.opts.Beside {
		met.Go(func() { s.listen(ctx) })
	}
	return func() { cancel(); met.Wait() }
}

// listen hears what others tell, until ctx ends.
func (s *Store) listen(ctx context.Context) {
	for deaf := false; ctx.Err() == nil; {
		began, heard := time.Now(), false
		err := s.listenOnce(ctx, func() {
			if heard = true; deaf {
				s.opts.Log.Info("other instances are heard again")
			}
			deaf = false
		})
		sleep(ctx, againAfter(err)-time.Since(began))
		if !heard && !deaf && ctx.Err() == nil && s.Failure() == nil { // else that says enough
			deaf = true
			s.opts.Log.Warn("other instances are not heard, and what they do is looked for every few seconds", "err", s.explain(err))
		}
	}
}

// againAfter is the time between two tries to listen. A server that does not know how to,
// as some that are like PostgreSQL, will hardly learn it.
func againAfter(err error) time.Duration {
	if class := sqlState(err); strings.HasPrefix(class, "0A") || strings.HasPrefix(class, "42") {
		return time.Minute
	}
	return listenAgain
}

// listenOnce hears what others tell as long as its connection lives. It calls begun when it
// does.
func (s *Store) listenOnce(ctx context.Context, begun func()) error {
	conn, err := s.listener(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ending)
	}()
	begun()
	s.missed()
	for {
		n, err := s.notification(ctx, conn)
		if err != nil {
			return err
		}
		if n != nil {
			s.heard(n.Payload)
		}
	}
}

// listener opens a connection that listens.
func (s *Store) listener(ctx context.Context) (*pgx.Conn, error) {
	config, err := (&pg{opts: s.opts}).config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, unasked{err}
	}
	var name string
	if err = conn.QueryRow(ctx, `SELECT `+channel).Scan(&name); err == nil {
		_, err = conn.Exec(ctx, `LISTEN `+pgx.Identifier{name}.Sanitize())
	}
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// notification waits for the next one; nil: there was none for a while, and the connection
// lives.
func (s *Store) notification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	waiting, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	n, err := conn.WaitForNotification(waiting)
	if err == nil || ctx.Err() != nil || waiting.Err() == nil {
		return n, err
	}
	asking, cancel := context.WithTimeout(ctx, silenceEnds)
	defer cancel()
	return nil, conn.Ping(asking)
}

// missed lets everything be looked at anew.
func (s *Store) missed() {
	s.others.missed.Store(true)
	if s.opts.Missed != nil {
		s.opts.Missed()
	}
}

// heard passes on what another instance has told.
func (s *Store) heard(payload string) {
	var n news
	if json.Unmarshal([]byte(payload), &n) != nil || n.From == s.others.name {
		return
	}
	if n.Missed {
		s.missed()
	}
	if s.opts.Settled != nil && len(n.Settled) > 0 {
		s.opts.Settled(n.Settled)
	}
	if s.opts.Arrived != nil {
		for sender, seq := range n.Arrived {
			s.opts.Arrived(sender, seq)
		}
	}
	if s.opts.Told != nil {
		for _, t := range n.Told {
			s.opts.Told(t.Topic, t.Text)
		}
	}
}
