package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := exec.Command("posthorn", "serve", "--config", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket.LocalAddr().String(), "WATCHDOG_USEC=200000")
	startCommand(t, cmd)
	if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		n, err := socket.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("systemd was told %q, %v; want %q", buf[:n], err, want)
		}
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
