package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/xmpptest"
)

// withoutServer writes a configuration whose XMPP server does not exist, and
// gives the file and the address for HTTP.
func withoutServer(t *testing.T) (file, address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	nobody := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	file = filepath.Join(t.TempDir(), "posthorn.yaml")
	text := fmt.Sprintf("component: {domain: post.example.com, secret: change-me, address: %q}\nauth: {hosts: [{domain: example.com, address: %q}]}\nhttp: {listen: [%q]}\nmetrics: {listen: \"\"}\nstore: \"sqlite:%s\"\n", nobody, nobody, address, filepath.Join(t.TempDir(), "posthorn.db"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, address
}

// startCommand starts a command for the length of the test, and collects its log.
func startCommand(t *testing.T, cmd *exec.Cmd) (p *xmpptest.Process, log *lines) {
	t.Helper()
	log = &lines{}
	cmd.Stderr = log
	p, err := xmpptest.StartProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil || p.Err() != nil {
			t.Errorf("stopped with %v, %v", err, p.Err())
		}
		if t.Failed() {
			t.Logf("posthorn's log:\n%s", log)
		}
	})
	return p, log
}

// TestNotify: systemd hears READY and the watchdog's sign of life while there
// is no XMPP server (sd_notify(3)).
func TestNotify(t *testing.T) {
	file, address := withoutServer(t)
	socket := notifySocket(t)
	cmd := exec.Command("posthorn", "serve", "--config", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket.LocalAddr().String(), "WATCHDOG_USEC=200000")
	startCommand(t, cmd)
	want := []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"}
	if diff := cmp.Diff(want, heard(t, socket, len(want))); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK} { // messages can be kept
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s is %d, want %d", path, response.StatusCode, want)
		}
	}
}

// TestSocketActivation: a socket that systemd passes is taken in place of
// http.listen (sd_listen_fds(3)).
func TestSocketActivation(t *testing.T) {
	file, address := withoutServer(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	passed, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec posthorn serve --config "$0"`, file)
	cmd.ExtraFiles = []*os.File{passed}
	startCommand(t, cmd)
	xmpptest.Wait(t, 10*time.Second, "posthorn answers on the passed socket", func() bool {
		response, err := http.Get("http://" + listener.Addr().String() + "/healthz")
		if err != nil {
			return false
		}
		return response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	if xmpptest.Accepts(address) {
		t.Error("http.listen was opened as well")
	}
}

// TestCredential: the unit hands the secret over by the name under which posthorn looks
// for it (systemd.exec(5), LoadCredential=).
func TestCredential(t *testing.T) {
	text, err := os.ReadFile(serviceFile)
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(string(text), "\n#LoadCredential=")
	name, _, _ := strings.Cut(line, ":")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("s3cret\n"), 0o400); err != nil || !found {
		t.Fatal(found, err)
	}
	environment := map[string]string{
		"CREDENTIALS_DIRECTORY": dir, "STATE_DIRECTORY": dir,
	}
	for key, value := range map[string]string{"POSTHORN_COMPONENT_DOMAIN": "post.example.com", "POSTHORN_AUTH_HOSTS": "example.com"} {
		t.Setenv(key, value)
	}
	c, _, err := loadConfig("", func(key string) string { return environment[key] })
	if err != nil || c.Component.Secret.Reveal() != "s3cret" {
		t.Errorf("the secret is not what the credential holds: %v", err)
	}
}

// TestAddressInUse: what cannot be listened on is said in one line, exit 1.
func TestAddressInUse(t *testing.T) {
	file, address := withoutServer(t)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	out, err := exec.Command("posthorn", "serve", "--config", file).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "posthorn: serve: http.listen: ") || strings.Count(string(out), "\n") != 1 {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestWatchdog: what hangs says so in the log alone, and systemd hears of each
// moment at which nothing did.
func TestWatchdog(t *testing.T) {
	socket := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked, log := 0, &lines{}
	alive := func() bool {
		if asked++; asked == 8 {
			cancel()
		}
		return asked <= 3 || asked == 7
	}
	if err := tellSystemd(ctx, alive, slog.New(slog.NewTextHandler(log, nil))); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(log.String(), "level=ERROR"); got != asked-4 {
		t.Errorf("%d lines of %d:\n%s", got, asked-4, log)
	}
	want := []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"}
	if diff := cmp.Diff(want, heard(t, socket, len(want))); diff != "" {
		t.Error(diff)
	}
	if err := socket.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := socket.Read(make([]byte, 1)); err == nil {
		t.Errorf("systemd was told %d bytes more", n)
	}
}

// notifySocket is systemd's end of sd_notify(3), for the length of the test.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// heard gives the next n things that systemd is told.
func heard(t *testing.T, socket *net.UnixConn, n int) (all []string) {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	for range n {
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, all)
		}
		all = append(all, string(buf[:n]))
	}
	return all
}
