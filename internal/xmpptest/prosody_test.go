package xmpptest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthorn/internal/xmpptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAccountsOutliveStopAndKill(t *testing.T) {
	p := xmpptest.StartProsody(t, xmpptest.Options{})
	p.Users(t, password, "me@example.com")
	for name, end := range map[string]func() error{"stop": p.Stop, "kill": p.Kill} {
		c := p.MustLogin(t, "me@example.com", password)
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if m, err := c.Receive(t.Context()); err == nil {
			t.Errorf("%s: received %+v", name, m)
		}
		if xmpptest.Accepts(p.ClientAddress) {
			t.Errorf("%s: it still listens", name)
		}
		if err := p.Start(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	p.MustLogin(t, "me@example.com", password)
}

func TestPausedServerIsSilent(t *testing.T) {
	p := xmpptest.StartProsody(t, xmpptest.Options{})
	p.Users(t, password, "me@example.com")
	c := p.MustLogin(t, "me@example.com", password)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if m, err := c.Query(ctx, "get", "example.com", "<ping xmlns='urn:xmpp:ping'/>"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Query(t.Context(), "get", "example.com", "<ping xmlns='urn:xmpp:ping'/>"); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	p, err := xmpptest.Open(xmpptest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pid := p.Pid()
	if err := errors.Join(p.Pause(), p.Close()); err != nil { // a paused one ends too
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	if _, err := os.Stat(p.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", p.Dir, err)
	}
	if log := p.Log(); log != "" {
		t.Errorf("a log without a server: %q", log)
	}
}

func TestBrokenConfigurationIsReported(t *testing.T) {
	for _, test := range []struct {
		name    string
		options xmpptest.Options
		want    string
	}{
		{"Lua", xmpptest.Options{Extra: "this is no Lua"}, "it ended at once"},
		{"stale edit", xmpptest.Options{Component: []xmpptest.Edit{xmpptest.Replace("no such text", "")}}, "not there"},
		{"stale setting", xmpptest.Options{Component: []xmpptest.Edit{xmpptest.Without("no_such_setting")}}, "it is not set"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := xmpptest.Open(test.options)
			if err == nil {
				t.Fatal("it started", p.Close())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
}
