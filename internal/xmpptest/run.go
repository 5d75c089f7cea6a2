package xmpptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Start starts the server, after Stop and Kill with the same ports and
// accounts as before, and returns when its ports answer.
func (s *Server) Start() error {
	if s.process != nil {
		return errors.New("xmpptest: start " + s.Name + ": it runs already")
	}
	before := len(s.Log())
	if err := s.spawn(); err != nil {
		return fmt.Errorf("xmpptest: start %s: %w", s.Name, err)
	}
	err := s.awaitPorts()
	if strings.Contains(s.Log()[before:], s.portTaken) {
		err = errors.New("somebody else took one of its ports") // and answered on it
	}
	if err != nil {
		return errors.Join(fmt.Errorf("xmpptest: start %s: %w", s.Name, err), s.end((*Process).Kill))
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
	cmd := s.command()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	s.process, err = StartProcess(cmd)
	return err
}

// awaitPorts returns when every port has answered, or says why none will. One
// that has answered is left alone: each question is a line in the server's log.
func (s *Server) awaitPorts() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), startTimeout,
		fmt.Errorf("its ports do not answer after %v", startTimeout))
	defer cancel()
	ended, left := false, s.listening
	err := Poll(ctx, func() bool {
		select {
		case <-s.process.Done():
			ended = true
		default:
		}
		for len(left) > 0 && Accepts(left[0]) {
			left = left[1:]
		}
		return ended || len(left) == 0
	})
	if ended {
		return fmt.Errorf("it ended at once: %v", s.process.Err())
	}
	return err
}

// Stop ends the server as `systemctl stop` does (SIGTERM), and waits for it. A
// server that does not run is no error.
func (s *Server) Stop() error { return s.end((*Process).Stop) }

// Kill ends it as a crash does (SIGKILL), and waits for it. The accounts
// outlive that.
func (s *Server) Kill() error {
	return errors.Join(s.accounts.settle(), s.end((*Process).Kill))
}

func (s *Server) end(how func(*Process) error) error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process = nil
	return how(process)
}

// Pause lets the server hang: its connections stay open, and nothing answers
// (SIGSTOP).
func (s *Server) Pause() error { return s.running((*Process).Pause) }

// Resume lets it go on after Pause (SIGCONT).
func (s *Server) Resume() error { return s.running((*Process).Resume) }

func (s *Server) running(do func(*Process) error) error {
	if s.process == nil {
		return errors.New("xmpptest: " + s.Name + " does not run")
	}
	return do(s.process)
}

// Pid is the server's process id, 0 while it does not run.
func (s *Server) Pid() int {
	if s.process == nil {
		return 0
	}
	return s.process.Pid()
}

func (s *Server) logFile() string { return filepath.Join(s.Dir, "server.log") }

// Log is everything that the server has logged and printed since Open.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}
