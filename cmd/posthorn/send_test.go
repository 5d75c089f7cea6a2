package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// A stage is a posthorn that answers as it is told and remembers what it was asked.
type stage struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	script script
}

// A script is what a stage does.
type script struct {
	code   int
	body   string
	hangUp bool // it ends the connection in place of an answer
	deaf   bool // it answers before it reads
}

func newStage() *stage {
	s := &stage{script: script{code: http.StatusCreated}}
	s.Server = httptest.NewServer(s)
	return s
}

// learn changes what it does from now on.
func (s *stage) learn(new script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = new
}

// requests gives what it was asked since the last time.
func (s *stage) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.asked = nil }()
	return s.asked
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.script.hangUp {
		panic(http.ErrAbortHandler)
	}
	if !s.script.deaf {
		s.asked = append(s.asked, dump(r))
	}
	w.Header().Set("Location", "https://elsewhere.example/msg/user")
	w.WriteHeader(s.script.code)
	_, _ = io.WriteString(w, s.script.body)
}

// dump writes a request as the scripts have it: its first line, the headers that
// matter, and the body, with BOUNDARY for what separates a form's parts.
func dump(r *http.Request) string {
	var out bytes.Buffer
	fmt.Fprintln(&out, r.Method, r.RequestURI)
	if user, word, ok := r.BasicAuth(); ok {
		fmt.Fprintf(&out, "Basic %s:%s\n", user, word)
	} else {
		fmt.Fprintln(&out, r.Header.Get("Authorization"))
	}
	fmt.Fprintln(&out, r.Header.Get("Content-Type"))
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		fmt.Fprintln(&out, "Idempotency-Key:", key)
	}
	body, err := io.ReadAll(r.Body)
	if r.ContentLength != int64(len(body)) || r.Header.Get("Expect") != "" || err != nil {
		fmt.Fprintln(&out, len(body), "bytes, not", r.ContentLength, r.Header.Get("Expect"), err)
	}
	fmt.Fprintf(&out, "\n%s\n", bytes.TrimSuffix(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), []byte("\n")))
	if _, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); params["boundary"] != "" {
		return strings.ReplaceAll(out.String(), params["boundary"], "BOUNDARY")
	}
	return out.String()
}

// TestSendScripts: scripts in testdata/send have a stage at POSTHORN_URL, and a
// command: `asked FILE` compares what that was asked since the last time.
func TestSendScripts(t *testing.T) {
	type key struct{}
	of := func(ts *testscript.TestScript) *stage { return ts.Value(key{}).(*stage) }
	testscript.Run(t, testscript.Params{
		Dir: "testdata/send",
		Setup: func(e *testscript.Env) error {
			s := newStage()
			e.Defer(s.Close)
			e.Values[key{}] = s
			home := filepath.Join(e.WorkDir, "home")
			e.Vars = append(e.Vars, hurry)
			e.Setenv("HOME", home)
			e.Setenv("POSTHORN_URL", s.URL)
			return os.MkdirAll(filepath.Join(home, ".config", "posthorn"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"asked": func(ts *testscript.TestScript, neg bool, args []string) {
				got := strings.Join(of(ts).requests(), "----\n")
				if neg {
					if got != "" {
						ts.Fatalf("was asked\n%s", got)
					}
					return
				}
				if diff := cmp.Diff(ts.ReadFile(args[0]), got); diff != "" {
					ts.Fatalf("%s", diff)
				}
			},
		},
	})
}

// A sender is a posthorn send to be run.
type sender struct {
	env   []string
	stdin io.Reader
}

// hurry spares who ends well a second, in which the race detector waits for races.
const hurry = "GORACE=atexit_sleep_ms=0"

// as gives the environment of the account that all tests have.
func as(url string) *sender {
	return &sender{env: []string{"POSTHORN_URL=" + url, "POSTHORN_JID=me@example.com", "POSTHORN_PASSWORD=" + password, "HOME=/nonexistent", hurry}}
}

func (s *sender) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "posthorn", append([]string{"send"}, args...)...)
	cmd.Env, cmd.Stdin = append(slices.Clone(s.env), "PATH="+os.Getenv("PATH")), s.stdin
	return cmd
}

// run gives its exit status and what it printed.
func (s *sender) run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := s.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if strings.Contains(out.String()+errs.String(), password) {
		t.Errorf("the password stands in %s%s", out.String(), errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestSendStatus: what the answer means for a script.
func TestSendStatus(t *testing.T) {
	problem := func(detail string) string { return `{"title":"x","status":400,"detail":"` + detail + `"}` }
	for _, test := range []struct {
		name   string
		code   int
		body   string
		want   int
		stdout string
		stderr string // $URL stands for that of the stage
	}{
		{"delivered", 201, `{"id":"A1","to":"user@example.com","status":"delivered"}`, 0, "201 Created: delivered, id A1\n", ""},
		{"routed", 201, `{"id":"A1","to":"user@example.com","status":"routed"}`, 0, "201 Created: routed, id A1\n", ""},
		{"queued", 202, `{"id":"A1","to":"user@example.com","status":"queued"}`, 0, "202 Accepted: queued, id A1\n", ""},
		{"a webhook that says nothing", 204, "", 0, "204 No Content\n", ""},
		{"a webhook as Slack answers it", 200, "ok", 0, "200 OK\n", ""},
		{"some of several", 207, `{"id":"A1","results":[{"to":"user@example.com","status":"delivered"},{"to":"ghost@example.com","status":"refused","code":"undeliverable","detail":"would not"},{"to":"x@example.org","status":"refused","detail":"may not"}]}`,
			1, "207 Multi-Status\n", "posthorn: send: ghost@example.com: would not\nposthorn: send: x@example.org: may not\n"},
		{"redirect", 301, "", 1, "301 Moved Permanently\n", "posthorn: send: $URL/msg/user leads to https://elsewhere.example/msg/user\nhint: redirects are not followed: set url (POSTHORN_URL) to where posthorn is\n"},
		{"malformed", 400, problem("is no text"), 1, "400 Bad Request\n", "posthorn: send: is no text\n"},
		{"wrong password", 401, problem("wrong user name or password"), 1, "401 Unauthorized\n", "posthorn: send: wrong user name or password\n"},
		{"forbidden", 403, problem("no"), 1, "403 Forbidden\n", "posthorn: send: no\n"},
		{"not posthorn", 404, "<html>", 1, "404 Not Found\n", "posthorn: send: $URL/msg/user answers 404 Not Found\n"},
		{"slow", 408, problem("the body did not arrive in time"), 75, "408 Request Timeout\n", "posthorn: send: the body did not arrive in time\n"},
		{"under way", 409, problem("wait"), 75, "409 Conflict\n", "posthorn: send: wait\n"},
		{"large", 413, problem("larger than 65536 bytes"), 1, "413 Request Entity Too Large\n", "posthorn: send: larger than 65536 bytes\n"},
		{"unsendable", 422, problem("body: is missing"), 1, "422 Unprocessable Entity\n", "posthorn: send: body: is missing\n"},
		{"too early", 425, "", 75, "425 Too Early\n", "posthorn: send: $URL/msg/user answers 425 Too Early\n"},
		{"throttled", 429, problem("wait"), 75, "429 Too Many Requests\n", "posthorn: send: wait\n"},
		{"a mistake of the service", 500, problem("made a mistake"), 75, "500 Internal Server Error\n", "posthorn: send: made a mistake\n"},
		{"a proxy whose posthorn is stopped", 502, "<html>", 75, "502 Bad Gateway\n", "posthorn: send: $URL/msg/user answers 502 Bad Gateway\n"},
		{"not kept", 503, problem("the outbox is full"), 75, "503 Service Unavailable\n", "posthorn: send: the outbox is full\n"},
		{"some of several failed", 503, `{"status":503,"detail":"x","results":[{"to":"user@example.com","status":"delivered"},{"to":"b@example.org","status":"failed","detail":"away"}]}`,
			75, "503 Service Unavailable\n", "posthorn: send: b@example.org: away\n" + onceHint + "\n"},
		{"unconfirmed", 504, problem("not confirmed in time"), 75, "504 Gateway Timeout\n", "posthorn: send: not confirmed in time\n" + onceHint + "\n"},
		{"what a terminal obeys", 422, problem(`\u001b[2Ja\nb`), 1, "422 Unprocessable Entity\n", "posthorn: send: ?[2Ja?b\n"},
		{"an answer of the wrong kind", 400, `{"detail":["x"]}`, 1, "400 Bad Request\n", "posthorn: send: $URL/msg/user answers 400 Bad Request\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage()
			defer s.Close()
			s.learn(script{code: test.code, body: test.body})
			status, stdout, stderr := as(s.URL).run(t, "-v", "-s", "of nobody's concern", "user", "hello")
			want := []any{test.want, test.stdout, strings.ReplaceAll(test.stderr, "$URL", s.URL)}
			if diff := cmp.Diff(want, []any{status, stdout, stderr}); diff != "" {
				t.Error(diff)
			}
			if got := s.requests(); len(got) != 1 {
				t.Errorf("sent %d times", len(got))
			}
		})
	}
}

// TestSendUnanswered: what may pass by itself is tried later, and what may have been
// sent is called so.
func TestSendUnanswered(t *testing.T) {
	https := httptest.NewTLSServer(http.NotFoundHandler())
	defer https.Close()
	plain, rude := newStage(), newStage()
	defer plain.Close()
	defer rude.Close()
	rude.learn(script{hangUp: true})
	socket := "unix:" + filepath.Join(t.TempDir(), "none.sock")
	nobody := newStage()
	nobody.Close()
	const dialHint, caHint = "hint: is posthorn running there?", "hint: for a private CA, set ca_file in send.yaml"
	for _, test := range []struct {
		name, url string
		args      []string
		want      int
		stderr    []string // parts of it
	}{
		{"nobody listens", nobody.URL, nil, 75, []string{"posthorn: send: dial tcp ", "connection refused", dialHint}},
		{"no socket", socket, nil, 75, []string{"no such file or directory", dialHint}},
		{"no such name", "http://posthorn..invalid", nil, 75, []string{"posthorn..invalid", dialHint}},
		{"nobody knows the certificate", https.URL, nil, 1, []string{"x509", caHint}},
		{"no TLS there", strings.Replace(plain.URL, "http", "https", 1), nil, 1, []string{"HTTP response to HTTPS client"}},
		{"it hangs up", rude.URL, nil, 75, []string{"posthorn: send: no answer: ", onceHint}},
		{"it hangs up on who has a key", rude.URL, []string{"--key", "1"}, 75, []string{"posthorn: send: no answer: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, stdout, stderr := as(test.url).run(t, append(test.args, "-s", "of nobody's concern", "user", "hello")...)
			if status != test.want || stdout != "" || strings.Contains(stderr, "concern") {
				t.Errorf("status %d, %q %q", status, stdout, stderr)
			}
			for _, part := range test.stderr {
				if !strings.Contains(stderr, part) {
					t.Errorf("%q lacks %q", stderr, part)
				}
			}
			if strings.Contains(stderr, onceHint) != slices.Contains(test.stderr, onceHint) {
				t.Errorf("may it have been sent? %q", stderr)
			}
		})
	}
}

// TestSendElsewhere: by a certificate of a private CA, and through a proxy.
func TestSendElsewhere(t *testing.T) {
	https, proxy := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })), newStage()
	defer https.Close()
	defer proxy.Close()
	dir := t.TempDir()
	ca, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "send.yaml")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, certificate, 0o600), os.WriteFile(config, []byte("ca_file: "+ca), 0o600)); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := as(https.URL).run(t, "--config", config, "user", "hello"); status != 0 {
		t.Errorf("by a private CA: status %d: %s", status, stderr)
	}
	through := as("http://posthorn..invalid")
	through.env = append(through.env, "http_proxy="+proxy.URL)
	if status, _, stderr := through.run(t, "user", "hello"); status != 0 {
		t.Errorf("through a proxy: status %d: %s", status, stderr)
	}
	if got := strings.Join(proxy.requests(), ""); !strings.HasPrefix(got, "POST http://posthorn..invalid/msg/user\n") {
		t.Errorf("the proxy was asked %s", got)
	}
}

// TestSendStreams: what comes on standard input is sent while more of it comes, if
// the service wants so much.
func TestSendStreams(t *testing.T) {
	first := bytes.Repeat([]byte("a"), aheadBytes)
	seen, whole := make(chan struct{}), make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "100-continue" || r.ContentLength != -1 {
			t.Errorf("asked with %v", r.Header)
		}
		_, _ = io.ReadFull(r.Body, make([]byte, len(first)))
		close(seen)
		rest, _ := io.ReadAll(r.Body)
		whole <- len(rest)
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	out, in := io.Pipe()
	go func() {
		_, _ = in.Write(append(first, 'b'))
		<-seen
		_, _ = in.Write([]byte("cd"))
		_ = in.Close()
	}()
	s := as(server.URL)
	s.stdin = out
	if status, _, stderr := s.run(t, "user"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if got := <-whole; got != 3 {
		t.Errorf("%d bytes came after the first, want 3", got)
	}
}

// TestSendRefusedEarly: a refusal ends a text that does not end by itself.
func TestSendRefusedEarly(t *testing.T) {
	s := newStage()
	defer s.Close()
	s.learn(script{code: http.StatusRequestEntityTooLarge, body: `{"detail":"too much"}`, deaf: true})
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	from := as(s.URL)
	from.stdin = zero
	if status, _, stderr := from.run(t, "user"); status != 1 || stderr != "posthorn: send: too much\n" {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// TestSendPatience: a service that goes silent is given up, at each step.
func TestSendPatience(t *testing.T) {
	const head = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n"
	for _, test := range []struct {
		name  string
		peer  func(net.Conn)
		want  string
		after time.Duration
	}{
		{"reads nothing", func(net.Conn) {}, "i/o timeout", stallTimeout},
		{"says nothing", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "timeout awaiting response headers", silenceTimeout},
		{"does not end", func(c net.Conn) {
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			_, _ = io.WriteString(c, head)
			_, _ = io.Copy(io.Discard, c)
		}, "the answer did not end in time", restTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				go test.peer(theirs)
				client := (&sendConfig{}).client(func(context.Context, string, string) (net.Conn, error) { return ours, nil }, silenceTimeout)
				request, err := http.NewRequest(http.MethodPost, "http://posthorn.test/msg/user", strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, err = ask(client, request); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("ended with %v, want %s", err, test.want)
				}
				if took := time.Since(began); took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
				_ = theirs.Close()
			})
		})
	}
}

// TestSendPrivate: the file is its user's own.
func TestSendPrivate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "send.yaml")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(name, info, os.Geteuid()); err != nil {
		t.Error(err)
	}
	if err := checkPrivate(name, info, os.Geteuid()+1); err == nil || err.Error() != name+" belongs to another user" {
		t.Errorf("of another user: %v", err)
	}
}

// TestSendWords: what is a recipient, and what the text.
func TestSendWords(t *testing.T) {
	for _, test := range []struct {
		args, to, text string // words end in |
	}{
		{"user|", "user|", ""},
		{"user|hello|", "user|", "hello|"},
		{"user|bob@example.org|hello|", "user|bob@example.org|", "hello|"},
		{"user|bob@example.org/phone|hello|you@there|", "user|bob@example.org/phone|", "hello|you@there|"},
		{"user|the disk of user@host is full|", "user|", "the disk of user@host is full|"},
		{"user|https://me@example.com/|", "user|", "https://me@example.com/|"},
		{"user|@bob|hello|", "user|@bob|", "hello|"},
		{"user|--|me@example.com|logged in|", "user|", "me@example.com|logged in|"},
		{"user|hello|--|--help|", "user|", "hello|--help|"},
		{"user|--||", "user|", "|"},
		{"--|user@example.com|hello|", "user@example.com|", "hello|"},
		{"", "", ""},
	} {
		args := strings.Split(test.args, "|")
		args = args[:len(args)-1]
		positional, verbatim := args, []string(nil)
		if i := slices.Index(args, "--"); i >= 0 {
			positional, verbatim = args[:i], args[i+1:]
		}
		to, text := recipientsAndText(positional, verbatim)
		if diff := cmp.Diff([]string{test.to, test.text}, []string{ended(to), ended(text)}); diff != "" {
			t.Errorf("%q: %s", test.args, diff)
		}
	}
}

func ended(words []string) (s string) {
	for _, word := range words {
		s += word + "|"
	}
	return s
}
