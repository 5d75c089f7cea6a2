package xmpptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopTimeout bounds how long a child may take to end by itself. Prosody needs
// a tenth of a second; the rest is for a busy machine.
const stopTimeout = 15 * time.Second

// A Process is a child that does not outlive this program: on Linux the kernel
// kills it when the program dies, however it dies.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed by run when the child has ended
	err  error         // how it ended; readable after done is closed
}

// StartProcess starts cmd, in a process group of its own so that a Ctrl-C in
// the terminal reaches this program alone, which then stops its children in
// order. It keeps the user that cmd is to run as. Who starts a Process ends it
// with Stop or Kill.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	bindToParent(cmd.SysProcAttr)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1) // one result, so that run never waits for us
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the child and waits for it on one and the same thread: the
// parent's death, of which the kernel tells the child, is that of the thread
// that forked, and Go ends idle threads as it likes.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended: nil for exit status 0, and while it lives.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop asks the process to end (SIGTERM), a paused one too, and waits for it.
// One that does not end in time is killed, which is an error.
func (p *Process) Stop() error { return p.StopBy(syscall.SIGTERM) }

// StopBy is Stop for a program that another signal asks.
func (p *Process) StopBy(s syscall.Signal) error {
	if err := errors.Join(p.signal(s), p.Resume()); err != nil {
		return err
	}
	if p.ends(stopTimeout) {
		return nil
	}
	// A Go program prints by this what each goroutine waits for.
	hangs := errors.Join(fmt.Errorf("%s did not end within %v of being asked (%v)", p.cmd.Path, stopTimeout, s), p.signal(syscall.SIGQUIT))
	_ = p.ends(time.Second)
	return errors.Join(hangs, p.Kill())
}

// ends waits for the process to have ended.
func (p *Process) ends(within time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

// Kill ends the process without warning (SIGKILL) and waits for it.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Pause holds the process (SIGSTOP): its connections stay open and silent. It
// returns when every thread has stopped, which may take a moment on a busy machine.
func (p *Process) Pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return Poll(ctx, p.stopped)
}

// stopped reports whether every thread of the process is, where the system tells
// (proc_pid_stat(5)).
func (p *Process) stopped() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid()))
	for _, name := range stats {
		text, err := os.ReadFile(name)
		_, rest, _ := strings.Cut(string(text), ") ")
		if err == nil && !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return true
}

// Resume lets a paused process go on (SIGCONT).
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// signal is quiet about a process that has ended already.
func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%v to %s: %w", s, p.cmd.Path, err)
	}
	return nil
}
