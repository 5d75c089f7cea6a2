package xmpptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startTimeout bounds how long Prosody may take until its ports answer. It
// needs half a second; the rest is for a busy machine.
const startTimeout = 30 * time.Second

// prosodyctlTimeout bounds one run of prosodyctl, for the same reason.
const prosodyctlTimeout = 30 * time.Second

// Start starts the server, after Stop and Kill with the same ports and
// accounts as before, and returns when its ports answer.
func (p *Prosody) Start() error {
	if p.process != nil {
		return errors.New("xmpptest: start prosody: it runs already")
	}
	before := len(p.Log())
	if err := p.spawn(); err != nil {
		return fmt.Errorf("xmpptest: start prosody: %w", err)
	}
	err := p.awaitPorts()
	if strings.Contains(p.Log()[before:], "Failed to open server port") {
		err = errors.New("somebody else took one of its ports") // and answered on it
	}
	if err != nil {
		return errors.Join(fmt.Errorf("xmpptest: start prosody: %w", err), p.Kill())
	}
	return nil
}

// spawn starts the process, with what it prints going where it logs.
func (p *Prosody) spawn() error {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has it open by then
	cmd := exec.Command("prosody", "-F", "--config", p.Config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, log, log
	p.process, err = StartProcess(cmd)
	return err
}

// awaitPorts returns when every port answers, or says why none will.
func (p *Prosody) awaitPorts() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), startTimeout,
		fmt.Errorf("its ports do not answer after %v", startTimeout))
	defer cancel()
	ended := false
	err := Poll(ctx, func() bool {
		select {
		case <-p.process.Done():
			ended = true
		default:
		}
		return ended || p.accepts()
	})
	if ended {
		return fmt.Errorf("it ended at once: %v", p.process.Err())
	}
	return err
}

func (p *Prosody) accepts() bool {
	return Accepts(p.ClientAddress) && Accepts(p.DirectTLSAddress) &&
		(!p.hasComponent || Accepts(p.ComponentAddress))
}

// Stop ends the server as `systemctl stop` does (SIGTERM), and waits for it. A
// server that does not run is no error.
func (p *Prosody) Stop() error { return p.end((*Process).Stop) }

// Kill ends it as a crash does (SIGKILL), and waits for it.
func (p *Prosody) Kill() error { return p.end((*Process).Kill) }

func (p *Prosody) end(how func(*Process) error) error {
	if p.process == nil {
		return nil
	}
	process := p.process
	p.process = nil
	return how(process)
}

// Pause lets the server hang: its connections stay open, and nothing answers
// (SIGSTOP).
func (p *Prosody) Pause() error { return p.running((*Process).Pause) }

// Resume lets it go on after Pause (SIGCONT).
func (p *Prosody) Resume() error { return p.running((*Process).Resume) }

func (p *Prosody) running(do func(*Process) error) error {
	if p.process == nil {
		return errors.New("xmpptest: prosody does not run")
	}
	return do(p.process)
}

// Pid is the server's process id, 0 while it does not run.
func (p *Prosody) Pid() int {
	if p.process == nil {
		return 0
	}
	return p.process.Pid()
}

// AddUser makes an account, or gives it a new password. The server may run.
func (p *Prosody) AddUser(jid, password string) error {
	local, domain, _ := strings.Cut(jid, "@")
	return p.prosodyctl("register", local, domain, password)
}

// DeleteUser removes an account; the running server ends its sessions only
// when they speak.
func (p *Prosody) DeleteUser(jid string) error {
	return p.prosodyctl("deluser", jid)
}

func (p *Prosody) prosodyctl(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), prosodyctlTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "prosodyctl", append([]string{"--config", p.Config}, args...)...)
	cmd.Dir = p.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("xmpptest: prosodyctl %s %s: %w\n%s", args[0], args[1], err, out)
	}
	return nil
}

func (p *Prosody) logFile() string { return filepath.Join(p.Dir, "prosody.log") }

// Log is everything that the server has logged and printed since Open.
func (p *Prosody) Log() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}
