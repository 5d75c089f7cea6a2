package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// An activated posthorn has a socket that outlives it, as systemd's does
// (sd_listen_fds(3)).
type activated struct {
	*xmpptest.Process
	config string
	socket *os.File
	log    *lines
}

func (a *activated) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec posthorn serve --config "$0"`, a.config)
	cmd.ExtraFiles = []*os.File{a.socket}
	cmd.Stderr = a.log
	var err error
	if a.Process, err = xmpptest.StartProcess(cmd); err != nil {
		t.Fatal(err)
	}
}

// stop ends the process in order.
func (a *activated) stop(t *testing.T) {
	t.Helper()
	if err := a.Stop(); err != nil || a.Err() != nil {
		t.Errorf("stopped with %v, %v", err, a.Err())
	}
}

// TestRestartLosesNothing: while posthorn is stopped and started again, behind a
// socket of systemd's, each request gets an answer, and the answer is true.
func TestRestartLosesNothing(t *testing.T) {
	const clients, restarts = 4, 4
	p := prosodyWithUsers(t, keepsAll)
	a, url := activate(t, p)
	user := p.MustLogin(t, "user@example.com", password)
	a.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sent sync.Map // what was acknowledged
	var sending sync.WaitGroup
	for n := range clients {
		sending.Go(func() { sendAll(ctx, t, url, fmt.Sprint("client ", n), &sent) })
	}
	acknowledged := func() (n int) {
		sent.Range(func(any, any) bool { n++; return true })
		return n
	}
	sends := func() {
		before := acknowledged()
		xmpptest.Wait(t, 20*time.Second, "messages are sent", func() bool { return acknowledged() > before+5 })
	}
	for range restarts {
		sends()
		a.stop(t)
		a.start(t)
	}
	sends()
	cancel()
	sending.Wait()
	for total := acknowledged(); total > 0; {
		if _, known := sent.LoadAndDelete(user.MustReceive(t).Body); known { // one that was kept may come twice
			total--
		}
	}
	a.stop(t)
}

// activate makes the socket and the configuration of an activated posthorn.
func activate(t *testing.T, p *xmpptest.Server) (a *activated, url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	a = &activated{config: filepath.Join(t.TempDir(), "posthorn.yaml"), log: &lines{t: t}}
	if a.socket, err = listener.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.socket.Close()
		if t.Failed() {
			t.Logf("posthorn's log:\n%s", a.log)
		}
	})
	text := strings.Replace(yamlFor(p, "127.0.0.1:1", ""), `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(t.TempDir(), "posthorn.db")), 1)
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, "http://" + listener.Addr().String()
}

// sendAll sends one message after the other, each on a connection of its own, until
// ctx ends. The last one is waited for.
func sendAll(ctx context.Context, t *testing.T, url, name string, sent *sync.Map) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	for n := 0; ctx.Err() == nil; n++ {
		text := fmt.Sprint(name, " ", n)
		request, err := http.NewRequest(http.MethodPost, url+"/msg/user", strings.NewReader(text))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Content-Type", "text/plain")
		request.SetBasicAuth("me@example.com", password)
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if a, err := read(response); err != nil || a.status != http.StatusCreated && a.status != http.StatusAccepted {
			t.Errorf("%s: %d %s, %v", text, a.status, a.raw, err)
		}
		sent.Store(text, true)
	}
}
