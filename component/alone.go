package component

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"
)

// ejabberd lets several connections have a component's domain, and deals out among them
// at random what is for it (23.01, 2026-11). That of a posthorn that hangs, or whose
// machine has died, stays until TCP gives it up. Beside such a one, barriers, rooms and
// hosts would seem not to answer, and what was sent would be sent again for want of that.
// So a session begins only where nobody else has the domain. Prosody sees to that itself.

// lots is how many IQs to ourselves are dealt out. That another connection gets none of
// them happens once in 65,536 times.
const lots = 16

// errNotAlone ends a session that another connection takes a part of.
var errNotAlone = errors.New("another connection has this domain too, and gets a part of what the server has for it")

// findOthers gives errNotAlone if there are any.
func (s *session) findOthers(ctx context.Context) error {
	ids := s.drawLots()
	if err := s.flush(); err != nil {
		return err
	}
	timeout := time.NewTimer(s.c.patience.stalled)
	defer timeout.Stop()
	for {
		switch back := s.areBack(ids); {
		case !slices.Contains(back, false):
			return nil
		case slices.Contains(back[slices.Index(back, false):], true):
			return errNotAlone // they come in order, so one that was overtaken does not come
		}
		select {
		case <-s.echoing:
		case <-timeout.C:
			return errStalled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drawLots puts IQs to ourselves into the buffer, and gives their ids. A server that lost
// such would confirm nothing anyway.
func (s *session) drawLots() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range lots {
		id := rand.Text()
		ids = append(ids, id)
		s.echoes[id] = false
		s.buf = appendBarrier(s.buf, s.c.opts.Domain, id)
	}
	return ids
}

// areBack reports which of them have come.
func (s *session) areBack(ids []string) (back []bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		back = append(back, s.echoes[id])
	}
	return back
}
