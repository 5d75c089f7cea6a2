package xmpptest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"posthorn/internal/xmpptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onBoth runs a test on a server of each kind.
func onBoth(t *testing.T, test func(*testing.T, *xmpptest.Server)) {
	t.Run("Prosody", func(t *testing.T) {
		test(t, &xmpptest.StartProsody(t, xmpptest.Options{}).Server)
	})
	t.Run("ejabberd", func(t *testing.T) {
		test(t, &xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{}).Server)
	})
}

func TestAccountsOutliveStopAndKill(t *testing.T) { onBoth(t, testAccountsOutliveStopAndKill) }

func testAccountsOutliveStopAndKill(t *testing.T, p *xmpptest.Server) {
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

func TestPausedServerIsSilent(t *testing.T) { onBoth(t, testPausedServerIsSilent) }

func testPausedServerIsSilent(t *testing.T, p *xmpptest.Server) {
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

func TestNothingIsLeft(t *testing.T) { onBoth(t, testNothingIsLeft) }

func testNothingIsLeft(t *testing.T, p *xmpptest.Server) {
	pid := p.Pid()
	if len(processesIn(t, p.Dir)) == 0 {
		t.Error("nothing runs in its directory")
	}
	if err := errors.Join(p.Pause(), p.Close()); err != nil { // a paused one ends too
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	xmpptest.Wait(t, 10*time.Second, "its helpers have ended", func() bool { return len(processesIn(t, p.Dir)) == 0 })
	if _, err := os.Stat(p.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", p.Dir, err)
	}
	if log := p.Log(); log != "" {
		t.Errorf("a log without a server: %q", log)
	}
}

// processesIn finds the processes whose working directory is or was in dir: a
// server's own and, since they inherit it, those of all it has started.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err != nil || !strings.HasPrefix(target, dir)
	})
}

func TestTwoBesideEachOther(t *testing.T) {
	first := xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{})
	second := xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{})
	first.Users(t, password, "me@example.com")
	if c, err := second.Login(t.Context(), "me@example.com", password); err == nil {
		c.Close()
		t.Error("the second has the first one's accounts")
	}
	first.MustLogin(t, "me@example.com", password)
}

func TestAccounts(t *testing.T) { onBoth(t, testAccounts) }

func testAccounts(t *testing.T, p *xmpptest.Server) {
	p.Users(t, "old", "me@example.com")
	p.Users(t, password, "me@example.com")
	if c, err := p.Login(t.Context(), "me@example.com", "old"); err == nil {
		c.Close()
		t.Error("the old password is still good")
	}
	p.MustLogin(t, "me@example.com", password).Close()
	if err := p.DeleteUser("me@example.com"); err != nil {
		t.Fatal(err)
	}
	if c, err := p.Login(t.Context(), "me@example.com", password); err == nil {
		c.Close()
		t.Error("the account is still there")
	}
}

func TestBrokenConfigurationIsReported(t *testing.T) {
	stale := []xmpptest.Edit{xmpptest.Replace("no such text", "")}
	unset := []xmpptest.Edit{xmpptest.Without("no_such_setting")}
	prosody := func(o xmpptest.Options) (io.Closer, error) { return xmpptest.Open(o) }
	ejabberd := func(o xmpptest.EjabberdOptions) (io.Closer, error) { return xmpptest.OpenEjabberd(o) }
	for _, test := range []struct {
		name string
		open func() (io.Closer, error)
		want string
	}{
		{"Lua", func() (io.Closer, error) { return prosody(xmpptest.Options{Extra: "this is no Lua"}) }, "it ended at once"},
		{"Prosody, stale edit", func() (io.Closer, error) { return prosody(xmpptest.Options{Component: stale}) }, "not there"},
		{"Prosody, stale setting", func() (io.Closer, error) { return prosody(xmpptest.Options{Component: unset}) }, "it is not set"},
		{"YAML", func() (io.Closer, error) { return ejabberd(xmpptest.EjabberdOptions{Extra: "no_such_option: 1"}) }, "it ended at once"},
		{"ejabberd, stale edit", func() (io.Closer, error) { return ejabberd(xmpptest.EjabberdOptions{Component: stale}) }, "not there"},
		{"ejabberd, stale setting", func() (io.Closer, error) { return ejabberd(xmpptest.EjabberdOptions{Component: unset}) }, "it is not set"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := test.open()
			if err == nil {
				t.Fatal("it started", p.Close())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
}
