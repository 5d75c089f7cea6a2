package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"posthorn/internal/xmpptest"
)

// TestIdleConnections: who connects and says nothing takes nothing from those
// who do. `make soak` does the same with ten thousand.
func TestIdleConnections(t *testing.T) { idleConnections(t, 500) }

func idleConnections(t *testing.T, n int) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	for i := range n {
		said := ""
		switch i % 3 {
		case 1:
			said = "POST /msg/user HTTP/1.1\r\nHo"
		case 2:
			said = "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nslow"
		}
		h.dialRaw(t, said)
	}
	a := h.mustPost(t, "/msg/user", "among the idle", nil)
	if a.status != 201 {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "among the idle")
}

// TestTooManyBytes: 413 comes before the body is sent.
func TestTooManyBytes(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	for name, request := range map[string]string{
		"declared":       "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
		"with 100":       "POST /msg/user HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n",
		"chunk by chunk": "POST /msg/user HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bWU6bXlwYXNzd29yZA==\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 17),
	} {
		t.Run(name, func(t *testing.T) {
			if a := h.exchange(t, request); a.status != http.StatusRequestEntityTooLarge || a.Detail == "" {
				t.Fatalf("answer is %d %s", a.status, a.raw)
			}
		})
	}
}

// TestMetrics: every metric the documentation names is there, none carries an
// address, and a listener of their own has them alone.
func TestMetrics(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	h.mustPost(t, "/msg/user", "x", nil)
	text := h.metrics(t)
	for _, name := range []string{
		"posthorn_httpapi_requests_total{", "posthorn_httpapi_request_seconds_bucket", "posthorn_auth_probes_total{", "posthorn_auth_probe_seconds_bucket",
		"posthorn_auth_cache_total{", `posthorn_component_messages_total{outcome="delivered"} 1`, "posthorn_component_barrier_seconds_bucket",
		"posthorn_component_batch_messages_bucket", "posthorn_component_queue_messages 0", "posthorn_component_up 1", "posthorn_component_refused 0",
		"posthorn_component_reconnects_total 0",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("no %s", name)
		}
	}
	if strings.Contains(text, "example.com") {
		t.Error("an address stands in the metrics")
	}
	if got := h.status("/metrics"); got != http.StatusNotFound {
		t.Errorf("the public listener answers /metrics with %d", got)
	}
}

// TestUnixSocket: a reverse proxy on the same machine needs no port.
func TestUnixSocket(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	socket := t.TempDir() + "/http.sock"
	abandoned, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	abandoned.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = abandoned.Close() // what a posthorn that was killed leaves behind
	h := startPosthorn(t, p, "listen: [", "listen: [\"unix:"+socket+"\", ").ready(t)
	out, err := h.curl("", "--unix-socket", socket, "http://localhost/msg/user", "-u", "me:mypassword", "-d", "by socket")
	if err != nil || !strings.HasSuffix(out, "\n201") {
		t.Fatalf("curl says %v: %s", err, out)
	}
}

// TestSlowRequests: a header or a body that does not come in time is given up.
func TestSlowRequests(t *testing.T) {
	t.Parallel() // the longest one takes as long as a body may
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	for name, request := range map[string]string{
		"header": "POST /msg/user HTTP/1.1\r\nHost: x\r\n",
		"body":   "POST /msg/user HTTP/1.1\r\nHost: x\r\n" + "Authorization: Basic bWU6bXlwYXNzd29yZA==\r\nContent-Length: 10\r\n\r\nslow",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response, err := http.ReadResponse(bufio.NewReader(h.dialRaw(t, request)), nil)
			if name == "header" && err == nil || name == "body" && (err != nil || response.StatusCode != http.StatusRequestTimeout) {
				t.Fatalf("answer is %v, %v", response, err)
			}
		})
	}
}
