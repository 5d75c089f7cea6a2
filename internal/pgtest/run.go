package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posthorn/internal/xmpptest"
)

// startTimeout bounds how long the server may take until it takes connections. It
// needs a tenth of a second; the rest is for a busy machine, and for recovery.
const startTimeout = 60 * time.Second

// ready is what it logs when it does. That its port answers says less: it does so
// before recovery ends, and somebody else's would too.
const ready = "database system is ready to accept connections"

// Start starts the server, after Stop and Kill on the same port and with what was
// committed, and returns when it takes connections.
func (s *Server) Start() error {
	if s.process != nil {
		return errors.New("pgtest: start PostgreSQL: it runs already")
	}
	before := len(s.Log())
	if err := s.spawn(); err != nil {
		return fmt.Errorf("pgtest: start PostgreSQL: %w", err)
	}
	if err := s.awaitReady(before); err != nil {
		return errors.Join(fmt.Errorf("pgtest: start PostgreSQL: %w", err), s.Kill())
	}
	return nil
}

// spawn starts the process, with what it prints going where it logs.
func (s *Server) spawn() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has it open by then
	cmd := s.program("postgres", "-D", s.data())
	cmd.Stdout, cmd.Stderr = log, log
	s.process, err = xmpptest.StartProcess(cmd)
	return err
}

func (s *Server) awaitReady(before int) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), startTimeout,
		fmt.Errorf("it is not ready after %v", startTimeout))
	defer cancel()
	ended := false
	err := xmpptest.Poll(ctx, func() bool {
		select {
		case <-s.process.Done():
			ended = true
		default:
		}
		return ended || strings.Contains(s.Log()[before:], ready)
	})
	if ended {
		return fmt.Errorf("it ended at once: %v", s.process.Err())
	}
	return err
}

// Restart ends the server and starts it again. Immediate is what an administrator does
// when nothing else helps: every connection ends at once, nothing is written, and the
// start recovers what was committed. Otherwise it is the usual way ("fast").
func (s *Server) Restart(immediate bool) error {
	by := syscall.SIGINT
	if immediate {
		by = syscall.SIGQUIT
	}
	return errors.Join(s.stopBy(by), s.Start())
}

// Stop ends the server as `systemctl stop` does, with the transactions that run, and
// waits for it. One that does not run is no error.
func (s *Server) Stop() error { return s.stopBy(syscall.SIGINT) }

func (s *Server) stopBy(by syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	resumed := s.Resume()
	process := s.process
	s.process = nil
	return errors.Join(resumed, process.StopBy(by))
}

// Kill ends the server as a crash of it does, every process without warning, and waits
// for them.
func (s *Server) Kill() error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process = nil
	if err := process.Pause(); err != nil { // so that it has no more children
		return err
	}
	children := childrenOf(process.Pid())
	return errors.Join(each(children, syscall.SIGKILL), process.Kill(), await(children, gone))
}

// Pause lets the server hang: its connections stay open and nothing answers. New ones
// are not answered either, but the kernel takes them.
func (s *Server) Pause() error {
	if s.process == nil {
		return errNotRunning
	}
	if err := s.process.Pause(); err != nil {
		return err
	}
	children := childrenOf(s.process.Pid())
	return errors.Join(each(children, syscall.SIGSTOP), await(children, stopped))
}

// Resume lets it go on after Pause.
func (s *Server) Resume() error {
	if s.process == nil {
		return errNotRunning
	}
	return errors.Join(each(childrenOf(s.process.Pid()), syscall.SIGCONT), s.process.Resume())
}

var errNotRunning = errors.New("pgtest: PostgreSQL does not run")

func (s *Server) logFile() string { return filepath.Join(s.dir, "server.log") }

// Log is everything that the server has logged and printed since Open.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}
