package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// newcomerTimeout is for how long a connection that has sent nothing yet keeps a server
// from stopping. Browsers open some that they may never use.
const newcomerTimeout = time.Second

// A server is an http.Server with its one listener.
type server struct {
	http.Server
	listener  net.Listener
	newcomers newcomers
	stopping  atomic.Bool
	ended     chan struct{} // closed when no more connections are accepted
}

func newServer(l net.Listener, h http.Handler, log *slog.Logger) *server {
	s := &server{listener: l, ended: make(chan struct{}), newcomers: newcomers{none: make(chan struct{}, 1), waiting: make(map[net.Conn]bool)}}
	s.Server = http.Server{
		Handler:           s.newcomers.heard(h),
		ConnContext:       s.newcomers.remember,
		ConnState:         s.newcomers.changed,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// OPTIONS * gets the answer of every other path.
		DisableGeneralOptionsHandler: true,
	}
	return s
}

func (s *server) serve() error {
	defer close(s.ended)
	if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) && !s.stopping.Load() {
		return err
	}
	return nil
}

// stop accepts no more connections, and answers what those that there are ask.
func (s *server) stop(ctx context.Context) error {
	s.stopping.Store(true)
	_ = s.listener.Close()
	<-s.ended
	s.newcomers.wait(ctx)
	if err := s.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("stop: %s: %w", s.listener.Addr(), err), s.Close())
	}
	return nil
}

// stopAll lets the requests in flight end.
func stopAll(servers []*server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var stopping errgroup.Group
	for _, s := range servers {
		stopping.Go(func() error { return s.stop(ctx) })
	}
	return stopping.Wait()
}

// newcomers are the connections of which no request has come yet. Shutdown ends such
// a connection without an answer, although its request may be there and half read:
// whoever has just connected would lose it in a restart (Go 1.26).
type newcomers struct {
	mu      sync.Mutex
	waiting map[net.Conn]bool // guarded by mu
	none    chan struct{}     // there may be none; capacity 1, a mark
}

type newcomerKey struct{}

// remember lets heard know which connection a request came by.
func (n *newcomers) remember(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, newcomerKey{}, conn)
}

func (n *newcomers) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		n.mu.Lock()
		n.waiting[conn] = true
		n.mu.Unlock()
	case http.StateClosed, http.StateHijacked:
		n.forget(conn)
	}
}

// heard calls h for requests, each of which ends its connection's wait.
func (n *newcomers) heard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, known := r.Context().Value(newcomerKey{}).(net.Conn); known {
			n.forget(conn)
		}
		h.ServeHTTP(w, r)
	})
}

func (n *newcomers) forget(conn net.Conn) {
	n.mu.Lock()
	delete(n.waiting, conn)
	none := len(n.waiting) == 0
	n.mu.Unlock()
	if none {
		select {
		case n.none <- struct{}{}:
		default:
		}
	}
}

// wait returns when there are none, or those that there are do not say anything.
func (n *newcomers) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, newcomerTimeout)
	defer cancel()
	for n.any() {
		select {
		case <-n.none:
		case <-ctx.Done():
			return
		}
	}
}

func (n *newcomers) any() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.waiting) > 0
}
