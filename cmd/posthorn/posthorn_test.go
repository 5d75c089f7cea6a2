package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"posthorn/internal/xmpptest"
)

// TestMain makes this test binary a posthorn as well: on its path stands a
// command of that name, and what runs one as its service does.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"posthorn": main, "filtered": filtered})
}

const password = "mypassword"

// A posthorn is a running `posthorn serve`.
type posthorn struct {
	*xmpptest.Process
	URL        string // of the HTTP side, without a path
	MetricsURL string
	Config     string       // the file
	command    []string     // what runs it
	env        []string     // of it, beside ours
	client     *http.Client // by which it is asked; nil: the default one
	expected   expectation
	log        *lines
}

// yamlFor is the configuration that goes with p, and what comes after it.
func yamlFor(p *xmpptest.Server, listen, metrics string) string {
	return fmt.Sprintf(`component:
  domain: post.example.com
  secret: change-me
  address: %s
http:
  listen: [%q]
metrics: {listen: %q}
store: ""
limits: {messages_per_second: 0}
log: {level: debug}
auth:
  hosts:
    - {domain: example.com, address: %q, ca_file: %s}
`, p.ComponentAddress, listen, metrics, p.ClientAddress, p.CAFile)
}

// startPosthorn runs posthorn beside p for the length of the test. Each of
// replacements is an old and a new text of its configuration.
func startPosthorn(t testing.TB, p *xmpptest.Server, replacements ...string) *posthorn {
	t.Helper()
	return startPosthornBy(t, []string{"posthorn"}, p, replacements...)
}

// startPosthornBy runs it by a command that ends in running it.
func startPosthornBy(t testing.TB, command []string, p *xmpptest.Server, replacements ...string) *posthorn {
	t.Helper()
	listen := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	metrics := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	h := &posthorn{URL: "http://" + listen, MetricsURL: "http://" + metrics, Config: filepath.Join(t.TempDir(), "posthorn.yaml"), command: command, expected: expected[p.Name], log: &lines{t: t}}
	h.run(t, replaceAll(t, yamlFor(p, listen, metrics), replacements...))
	return h
}

// replaceAll puts new texts in the place of old ones, each of which has to be there.
func replaceAll(t testing.TB, text string, oldAndNew ...string) string {
	t.Helper()
	for i := 0; i+1 < len(oldAndNew); i += 2 {
		if !strings.Contains(text, oldAndNew[i]) {
			t.Fatalf("there is no %q in\n%s", oldAndNew[i], text)
		}
		text = strings.ReplaceAll(text, oldAndNew[i], oldAndNew[i+1])
	}
	return text
}

// run writes the configuration and runs posthorn for the length of the test.
func (h *posthorn) run(t testing.TB, config string) {
	t.Helper()
	if err := os.WriteFile(h.Config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("posthorn's log:\n%s", h.log)
		}
		if strings.Contains(h.log.String(), password) {
			t.Error("a password stands in posthorn's log")
		}
		if strings.Contains(h.log.String(), "DATA RACE") {
			t.Errorf("a data race in posthorn:\n%s", h.log)
		}
	})
}

// start runs the process, the first time and after it has ended, and waits until
// it listens.
func (h *posthorn) start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(h.command[0], append(h.command[1:], "serve", "--config", h.Config)...)
	cmd.Stderr, cmd.Env = h.log, append(os.Environ(), h.env...)
	var err error
	if h.Process, err = xmpptest.StartProcess(cmd); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "posthorn listens", h.listens)
}

func (h *posthorn) listens() bool { return xmpptest.Accepts(h.address()) }

// address is host:port.
func (h *posthorn) address() string {
	_, address, _ := strings.Cut(h.URL, "://")
	return address
}

// ready waits until messages can be sent.
func (h *posthorn) ready(t testing.TB) *posthorn {
	t.Helper()
	xmpptest.Wait(t, 15*time.Second, "posthorn is ready", h.sends)
	return h
}

// sends reports whether messages can be sent now, and not only kept.
func (h *posthorn) sends() bool {
	response, err := h.asking().Get(h.URL + "/readyz")
	if err != nil {
		return false
	}
	a, err := read(response)
	return err == nil && a.status == http.StatusOK && strings.Contains(a.raw, `"stream":"up"`)
}

func (h *posthorn) status(path string) int {
	response, err := h.asking().Get(h.URL + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// lines collects a process's log.
type lines struct {
	t   testing.TB
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// An answer is what posthorn said.
type answer struct {
	status int
	header http.Header
	ID     string
	To     any
	Status any // a problem's is a number
	Detail string
	raw    string
}

// post sends a text from me@example.com. change may be nil.
func (h *posthorn) post(path, text string, change func(*http.Request)) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+path, strings.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "text/plain")
	request.SetBasicAuth("me@example.com", password)
	if change != nil {
		change(request)
	}
	response, err := h.asking().Do(request)
	if err != nil {
		return answer{}, err
	}
	return read(response)
}

func (h *posthorn) asking() *http.Client {
	if h.client == nil {
		return http.DefaultClient
	}
	return h.client
}

func read(response *http.Response) (answer, error) {
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	a := answer{status: response.StatusCode, header: response.Header, raw: string(raw)}
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(raw, &a)
}

func (h *posthorn) mustPost(t testing.TB, path, text string, change func(*http.Request)) answer {
	t.Helper()
	a, err := h.post(path, text, change)
	if err != nil {
		t.Fatalf("%v in answer to %s: %s", err, path, a.raw)
	}
	return a
}

// prosodyWithUsers is a server with the accounts of the README.
func prosodyWithUsers(t testing.TB, o xmpptest.Options) *xmpptest.Server {
	t.Helper()
	p := xmpptest.StartProsody(t, o)
	p.Users(t, password, "me@example.com", "user@example.com")
	return &p.Server
}

// expect receives one message and compares what everybody cares about.
func expect(t testing.TB, c *xmpptest.Client, from, body string) xmpptest.Message {
	t.Helper()
	m := c.MustReceive(t)
	if bare, _, _ := strings.Cut(m.From, "/"); bare != from || m.Body != body {
		t.Fatalf("received %q from %q, want %q from %q\n%s", m.Body, m.From, body, from, m.Raw)
	}
	return m
}

// dialRaw opens a connection to posthorn and writes bytes as they are.
func (h *posthorn) dialRaw(t testing.TB, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}
