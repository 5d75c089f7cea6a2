package auth

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// silenceTTL is how long a server that could not be reached is taken for
// silent without another look: a port that drops what it gets costs each look
// probeTimeout.
const silenceTTL = 5 * time.Second

// A silence is what the probes of one host have found out about whether its
// server can be reached.
type silence struct {
	mu    sync.Mutex // guards found
	found time.Time  // when a probe found it last; zero once the server has answered
}

// note learns from a probe that has ended. An answer, whatever it says, ends
// the silence. A probe that began too late to wait for one says nothing, and
// neither does one that Close has ended.
func (s *silence) note(ctx context.Context, began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline, _ := ctx.Deadline()
	switch reasonOf(err, Broken) {
	case Unreachable:
		if nobodyThere(err) {
			s.found = time.Now()
		}
	case Timeout:
		if deadline.Sub(began) >= probeTimeout/2 && !errors.Is(ctx.Err(), context.Canceled) {
			s.found = time.Now()
		}
	default:
		s.found = time.Time{}
	}
}

func (s *silence) lasts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.found) < silenceTTL
}

// nobodyThere tells a server that is down from what else keeps us from
// dialling, such as too many open files. A name that does not resolve is one:
// the server's machine may be its DNS too.
func nobodyThere(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.As(err, new(*net.DNSError))
}
