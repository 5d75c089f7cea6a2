package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/auth"
	"posthorn/component"
	"posthorn/internal/message"
	"posthorn/internal/store"
	"posthorn/internal/token"
	"posthorn/internal/xmpptest"
)

// configWith is the smallest configuration, changed.
func configWith(t *testing.T, change func(*config)) *config {
	t.Helper()
	c := load(t, "../../deploy/posthorn.yaml")
	change(&c)
	return &c
}

// TestCheckConfiguration: what is allowed, and cannot be meant.
func TestCheckConfiguration(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*config)
		check  func(*report, *config)
		begins string
		part   string
	}{
		{"everybody", func(*config) {}, checkPolicy, "ok policy", "every account of auth.hosts may send, to any recipients"},
		{"some", func(c *config) { c.Policy.Senders = []string{"me@example.com", "example.com"} }, checkPolicy, "ok policy", "2 in policy.senders"},
		{"a sender of elsewhere", func(c *config) { c.Policy.Senders = []string{"me@exmaple.com"} }, checkPolicy, "warning policy", "me@exmaple.com"},
		{"a domain of elsewhere", func(c *config) { c.Policy.Senders = []string{"sub.example.com"} }, checkPolicy, "warning policy", "sub.example.com"},
		{"a proxy", func(c *config) { c.proxies.networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, checkPolicy, "ok policy", ""},
		{"every proxy", func(c *config) { c.proxies.networks = []netip.Prefix{netip.MustParsePrefix("::/0")} }, checkPolicy, "warning policy", "::/0"},
		{"limits", func(*config) {}, checkLimits, "ok limits", "50 messages a second, 500 at once; bodies of 64 KiB"},
		{"no limits", func(c *config) { c.Limits.MessagesPerSecond = 0 }, checkLimits, "ok limits", "any number"},
		{"bodies that do not fit", func(c *config) { c.HTTP.MaxBody = 1 << 20 }, checkLimits, "warning limits", "http.max_body is 1 MiB and component.max_stanza 256 KiB"},
		{"guessing", func(c *config) { c.Auth.Throttle.Failures = 0 }, checkLimits, "warning limits", "not slowed down"},
		{"templates", func(*config) {}, checkTemplates, "ok templates", "are built in"},
		{"own templates", func(c *config) { c.Hooks.Dir = hooksWith(t, "mine", "{{.text}}") }, checkTemplates, "ok templates", "of which 1 are in"},
		{"a broken template", func(c *config) { c.Hooks.Dir = hooksWith(t, "mine", "one\n{{if}}") }, checkTemplates, "failed templates", "/mine.tmpl: mine:2: missing value for if"},
		{"no templates", func(c *config) { c.Hooks.Dir = "/nowhere" }, checkTemplates, "failed templates", "/nowhere"},
		{"no certificate there", func(c *config) { c.HTTP.TLS.CertFile = "/nowhere" }, checkCertificate, "failed certificate", "/nowhere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := configWith(t, test.change)
			wantFinding(t, findings(t, func(r *report) { test.check(r, c) }), test.begins, test.part)
		})
	}
}

func hooksWith(t *testing.T, name, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name+".tmpl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCheckCertificate: by when it ends, and whom it names.
func TestCheckCertificate(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name        string
		starts, end time.Duration // from now
		names       []string
		listen      string
		want        string
		part        string
	}{
		{"good", -day, 90 * day, []string{"post.example.org"}, ":5288", "ok certificate", "for post.example.org, until 20"},
		{"by its address", -day, 90 * day, []string{"post.example.org"}, "192.0.2.1:5288", "ok certificate", ""},
		{"good for the name", -day, 90 * day, []string{"*.example.org"}, "post.example.org:5288", "ok certificate", ""},
		{"another name", -day, 90 * day, []string{"post.example.org"}, "push.example.org:5288", "warning certificate", "http.listen has push.example.org"},
		{"no name", -day, 90 * day, nil, ":5288", "warning certificate", "names no host"},
		{"soon", -day, 13 * day, []string{"post.example.org"}, ":5288", "warning certificate", "until"},
		{"over", -day, -time.Hour, []string{"post.example.org"}, ":5288", "failed certificate", "has expired"},
		{"not yet", day, 90 * day, []string{"post.example.org"}, ":5288", "failed certificate", "not valid yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaf := &x509.Certificate{NotBefore: time.Now().Add(test.starts), NotAfter: time.Now().Add(test.end), DNSNames: test.names}
			wantFinding(t, findings(t, func(r *report) { reportCertificate(r, leaf, []string{test.listen}) }), test.want, test.part)
		})
	}
}

// TestCheckListeners: what is free, what another program has, and who reaches it.
func TestCheckListeners(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	dir := t.TempDir()
	file, socket, left := filepath.Join(dir, "file"), filepath.Join(dir, "socket"), filepath.Join(dir, "left")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dead, err := net.Listen("unix", left)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = dead.Close()
	port := xmpptest.MustFreePort(t)
	local := fmt.Sprintf("127.0.0.1:%d", port)
	for _, test := range []struct {
		name   string
		listen string
		change func(*config)
		all    running
		status status
		part   string
	}{
		{"free", local, nil, nil, good, "free"},
		{"ours", taken.Listener.Addr().String(), nil, running{taken.Listener.Addr().String(): {Version: "1.2.3"}}, good, "posthorn 1.2.3 answers"},
		{"taken", taken.Listener.Addr().String(), nil, nil, failed, "another program"},
		{"of another machine", "192.0.2.1:5288", nil, nil, failed, "cannot assign"},
		{"without TLS", fmt.Sprintf(":%d", port), nil, nil, dubious, "others reach it without TLS"},
		{"with TLS", fmt.Sprintf(":%d", port), func(c *config) { c.HTTP.TLS.CertFile = "x" }, nil, good, "free"},
		{"a socket", "unix:" + filepath.Join(dir, "new"), func(c *config) { c.proxies.unix = true }, nil, good, "free"},
		{"a socket, and nobody trusted", "unix:" + filepath.Join(dir, "new"), nil, nil, dubious, "all count as one"},
		{"a socket that was left", "unix:" + left, func(c *config) { c.proxies.unix = true }, nil, good, "free"},
		{"a socket that is taken", "unix:" + socket, nil, nil, failed, "another program"},
		{"a file", "unix:" + file, nil, nil, failed, "is no socket"},
		{"no directory", "unix:" + dir + "/no/socket", nil, nil, dubious, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := configWith(t, func(c *config) {
				c.HTTP.Listen = []string{test.listen}
				if test.change != nil {
					test.change(c)
				}
			})
			got := findings(t, func(r *report) { checkListeners(r, c, test.all) })
			wantFinding(t, got, string(test.status)+" listener "+test.listen, test.part)
		})
	}
	for _, left := range []string{file, left} {
		if _, err := os.Lstat(left); err != nil {
			t.Errorf("the check removed it: %v", err)
		}
	}
}

// TestCheckMetrics: the metrics of a running posthorn say more than it tells strangers.
func TestCheckMetrics(t *testing.T) {
	mute := 0
	ours := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "posthorn_component_mute_hostsx 7\nposthorn_component_mute_hosts %d\n", mute)
	}))
	defer ours.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	port := xmpptest.MustFreePort(t)
	for _, test := range []struct {
		name, listen string
		mute         int
		want         string
		part         string
	}{
		{"off", "", 0, "ok metrics", "off"},
		{"free", fmt.Sprintf("127.0.0.1:%d", port), 0, "ok metrics ", "free"},
		{"open", fmt.Sprintf("0.0.0.0:%d", port), 0, "warning metrics ", "no password"},
		{"the API's", "127.0.0.1:5288", 0, "failed metrics ", "the same address"},
		{"taken", other.Listener.Addr().String(), 0, "failed metrics ", "another program"},
		{"ours", ours.Listener.Addr().String(), 0, "ok metrics ", "posthorn answers"},
		{"ours, mute", ours.Listener.Addr().String(), 2, "failed metrics ", "may not speak for the users of 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			mute = test.mute
			c := configWith(t, func(c *config) { c.Metrics.Listen = test.listen })
			got := findings(t, func(r *report) { checkMetrics(t.Context(), r, c) })
			wantFinding(t, got, test.want+test.listen, test.part)
		})
	}
}

// TestCheckStore: where it is, who has it, and whether it has room.
func TestCheckStore(t *testing.T) {
	made := func(t *testing.T) *config {
		c := configWith(t, func(c *config) { c.storePath = filepath.Join(t.TempDir(), "posthorn.db"); c.Delivery.MaxKept = 1 })
		s := store.New(store.Options{Path: c.storePath})
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(start(s.Run))
		return c
	}
	look := func(t *testing.T, c *config, all running) []finding {
		return findings(t, func(r *report) { checkStore(t.Context(), r, c, all) })
	}
	t.Run("off", func(t *testing.T) {
		wantFinding(t, look(t, configWith(t, func(c *config) { c.storePath = "" }), nil), "ok store", "off")
	})
	t.Run("new", func(t *testing.T) {
		c := configWith(t, func(c *config) { c.storePath = filepath.Join(t.TempDir(), "posthorn.db") })
		wantFinding(t, look(t, c, nil), "ok store", "will be made")
	})
	t.Run("no database", func(t *testing.T) {
		c := configWith(t, func(c *config) { c.storePath = filepath.Join(t.TempDir(), "posthorn.db") })
		if err := os.WriteFile(c.storePath, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		wantFinding(t, look(t, c, nil), "failed store", "is damaged")
	})
	t.Run("failing", func(t *testing.T) {
		wantFinding(t, look(t, made(t), running{"127.0.0.1:5288": {Store: "failing"}}), "failed store", "127.0.0.1:5288 cannot write")
	})
	t.Run("in use", func(t *testing.T) {
		got := look(t, made(t), running{"127.0.0.1:5288": {Store: "ok"}})
		wantFinding(t, got[:1], "ok store", fmt.Sprintf("in use by process %d, ", os.Getpid()))
		wantFinding(t, got[1:], "ok tokens", "0 can be used")
	})
	t.Run("in use by nobody who answers", func(t *testing.T) {
		c := made(t)
		wantFinding(t, look(t, c, nil)[:1], "warning store", "does not answer")
		got := findings(t, func(r *report) { checkStream(t.Context(), r, c, nil, c.holder()) })
		wantFinding(t, got, "warning component post.example.com", "not tried")
	})
	t.Run("no room", func(t *testing.T) {
		c := made(t)
		c.Delivery.MaxKept = 1 << 62
		wantFinding(t, look(t, c, running{"x": {}})[:1], "warning store", "less than delivery.max_kept")
	})
	t.Run("a file of somebody else", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Log("only root can give files away")
			return
		}
		c := made(t)
		if err := os.Chown(c.storePath, 12345, -1); err != nil {
			t.Fatal(err)
		}
		wantFinding(t, look(t, c, running{"x": {}})[:1], "warning store", " belongs to another user")
	})
}

// TestCheckTokens: those that end soon, and those that nobody can use.
func TestCheckTokens(t *testing.T) {
	c := configWith(t, func(c *config) { c.storePath = filepath.Join(t.TempDir(), "posthorn.db") })
	s := store.New(store.Options{Path: c.storePath})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(s.Run))
	add := func(name, life, owner string, age time.Duration) {
		made, _, err := token.Request{Name: name, Life: life}.Make(message.JID(owner), time.Now().Add(-age))
		if err == nil {
			err = s.AddToken(t.Context(), made)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	look := func() []finding { return findings(t, func(r *report) { checkTokens(t.Context(), r, c, s) }) }
	add("good", "90d", "me@example.com", 0)
	add("over", "1d", "me@example.com", 48*time.Hour)
	wantFinding(t, look(), "ok tokens", "1 can be used; none ends within 7 days")
	add("soon", "6d", "me@example.com", 0)
	wantFinding(t, look(), "warning tokens", "soon of me@example.com ends on ")
	if _, err := s.RevokeTokens(context.Background(), "me@example.com"); err != nil {
		t.Fatal(err)
	}
	add("foreign", "90d", "me@elsewhere.example", 0)
	wantFinding(t, look(), "warning tokens", "foreign of me@elsewhere.example is refused")
}

// TestReportHost: what is said of a host, and of its upload service.
func TestReportHost(t *testing.T) {
	found := auth.Report{Address: "127.0.0.1:5222", TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-1", Expires: time.Now().Add(15 * 24 * time.Hour)}
	say := func(found auth.Report) []finding {
		return findings(t, func(r *report) { reportHost(r, "passwords of example.com", found) })
	}
	wantFinding(t, say(found), "ok passwords of example.com", "TLS 1.3")
	found.Expires = time.Now().Add(13 * 24 * time.Hour)
	wantFinding(t, say(found), "warning passwords of example.com", "its certificate ends on 20")
	wantFinding(t, say(auth.Report{}), "ok passwords of example.com", "no TLS")

	upload := func(h component.HostReport) []finding {
		h.Host = "example.com"
		return findings(t, func(r *report) { reportUpload(r, h) })
	}
	wantFinding(t, upload(component.HostReport{Upload: "upload.example.com", UploadLimit: 10 << 20}), "ok files of example.com", "upload.example.com takes them, of up to 10 MiB")
	wantFinding(t, upload(component.HostReport{UploadHint: "add one"}), "warning files of example.com", "cannot be sent")
}

// TestInBytes: sizes are short, and round ones are exact.
func TestInBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1 << 10: "1 KiB", 65536: "64 KiB", 10 << 20: "10 MiB", 1 << 30: "1 GiB", 12345678: "11 MiB", 5<<30 + 5: "5 GiB"} {
		if got := inBytes(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
