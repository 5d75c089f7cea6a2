package httpapi

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
)

func TestCredentials(t *testing.T) {
	for _, test := range []struct{ name, header string }{
		{"JID", basic(me, password)},
		{"JID with a resource", basic(me+"/cron", password)},
		{"bare name", basic("me", password)},
		{"Latin-1", basic("me", strings.ReplaceAll(password, "ö", "\xf6"))},
		{"scheme in upper case", strings.Replace(basic("me", password), "Basic", "BASIC", 1)},
		{"more spaces", strings.Replace(basic("me", password), "Basic", "Basic  ", 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			if got := h.do(t, call{body: "x", header: map[string]string{"Authorization": test.header}}); got.status != 201 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if sent := h.deliverer.take(); len(sent) != 1 || sent[0].From != me {
				t.Fatalf("sent %v", sent)
			}
		})
	}
	t.Run("cannot be checked now", func(t *testing.T) {
		h := newHouse(nil)
		h.verifier.err = fault.New(fault.Unavailable, "the server does not answer")
		if got := h.do(t, call{body: "x"}); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Fatalf("%d %s", got.status, got.body)
		}
	})
}

// TestOrderOfChecks: of a request that is wrong in every way, what is wrong
// first is told.
func TestOrderOfChecks(t *testing.T) {
	h := newHouse(func(o *Options) { o.MaxBody, o.Senders = 10, []string{"you@example.com"} })
	wrong := call{method: "PATCH", path: "/msg", typ: "image/png", body: strings.Repeat("x", 11),
		header: map[string]string{"Authorization": "x", "Sec-Fetch-Site": "cross-site"}}
	for _, step := range []struct {
		want  int
		right func()
	}{
		{405, func() { wrong.method = "POST" }},
		{413, func() { wrong.body = "x" }},
		{403, func() { delete(wrong.header, "Sec-Fetch-Site") }},
		{401, func() { wrong.header["Authorization"] = basic(me, "x") }},
		{401, func() { delete(wrong.header, "Authorization") }},
		{403, func() { h = newHouse(nil) }},
		{415, func() { wrong.typ = "" }},
		{422, func() { wrong.path = "/msg/user" }},
		{201, func() {}},
	} {
		if got := h.do(t, wrong); got.status != step.want {
			t.Fatalf("%d %s; want %d", got.status, got.body, step.want)
		}
		step.right()
	}
}

// TestHeadersTwice: of two, one reader would believe the one and we the other.
func TestHeadersTwice(t *testing.T) {
	for _, header := range []string{"Authorization: {auth}", "Content-Type: text/plain", "Idempotency-Key: k"} {
		name, _, _ := strings.Cut(header, ":")
		t.Run(name, func(t *testing.T) {
			h := newHouse(nil)
			request := []string{"POST /msg/user HTTP/1.1", "Host: x", header, strings.ToLower(name) + header[len(name):]}
			if name != "Authorization" {
				request = append(request, "Authorization: {auth}")
			}
			got := wire(t, h.serve(t), lines("x", request...))
			if checkAnswer(t, h, got); got.status != 400 || !strings.Contains(got.body, "more than one "+name+" header") || len(h.deliverer.take()) > 0 {
				t.Fatalf("%d %s", got.status, got.body)
			}
		})
	}
}

func TestPolicy(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Options)
		path   string
		want   int
	}{
		{"sender listed", func(o *Options) { o.Senders = []string{"you@example.com", "me@example.com"} }, "/msg/user", 201},
		{"sender's domain listed", func(o *Options) { o.Senders = []string{"example.com"} }, "/msg/user", 201},
		{"sender not listed", func(o *Options) { o.Senders = []string{"you@example.com", "example.org"} }, "/msg/user", 403},
		{"local recipient", func(o *Options) { o.RecipientsLocal = true }, "/msg/a@other.example", 201},
		{"recipient below a host", func(o *Options) { o.RecipientsLocal = true }, "/msg/a@rooms.example.com", 201},
		{"remote recipient", func(o *Options) { o.RecipientsLocal = true }, "/msg/a@example.org", 403},
		{"recipient that only looks local", func(o *Options) { o.RecipientsLocal = true }, "/msg/a@badexample.com", 403},
		{"one remote recipient", func(o *Options) { o.RecipientsLocal = true }, "/msg/a,b@example.org", 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(test.change)
			got := h.do(t, call{path: test.path, body: "x"})
			if got.status != test.want || (len(h.deliverer.take()) > 0) != (test.want == 201) {
				t.Fatalf("%d %s", got.status, got.body)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	ready, stream := false, "refused"
	h := newHouse(func(o *Options) {
		o.Ready = func() bool { return ready }
		o.Stream = func() string { return stream }
	})
	check := func(method, path string, status int, body string) {
		t.Helper()
		got := h.do(t, call{method: method, path: path, header: map[string]string{"Authorization": "-"}})
		if got.status != status || got.body != body+"\n" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %q", method, path, got.status, got.body)
		}
	}
	check("GET", "/healthz", 200, `{"stream":"refused","store":"ok","version":"1.2.3"}`)
	check("GET", "/readyz", 503, `{"stream":"refused","store":"ok","version":"1.2.3"}`)
	ready, stream = true, "up"
	check("GET", "/readyz/", 200, `{"stream":"up","store":"ok","version":"1.2.3"}`)
	check("GET", "/healthz?x", 200, `{"stream":"up","store":"ok","version":"1.2.3"}`)
	h.Handler.options.Role = func() string { return "standby" }
	check("GET", "/healthz", 200, `{"stream":"up","store":"ok","role":"standby","version":"1.2.3"}`)
	if log := h.log.String(); strings.Count(log, "level=DEBUG") != 5 || strings.Count(log, "\n") != 5 {
		t.Errorf("the log has %s", log)
	}
	response, err := http.Head(h.serve(t).URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if response.StatusCode != 200 || response.ContentLength <= 0 {
		t.Errorf("HEAD: %v", response)
	}
}

// TestLogAndMetrics: who, to whom and how it ended; never what, nor the query.
func TestLogAndMetrics(t *testing.T) {
	h := newHouse(nil)
	h.do(t, call{path: "/msg/user?subject=s3cret-subject&token=s3cret-token", body: "s3cret-body"})
	h.do(t, call{method: "GET"})
	log := h.log.String()
	for _, want := range []string{`msg="answered 201"`, "jid=me@example.com", "to=[user@example.com]", "id=", "took=", "addr=192.0.2.1 ", `msg="answered 405"`, "level=DEBUG"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if strings.Contains(log, "s3cret") || strings.Count(log, "\n") != 2 {
		t.Errorf("the log has %s", log)
	}
	for status, want := range map[int]float64{201: 1, 405: 1, 200: 0} {
		if got := testutil.ToFloat64(h.metrics.answers[status]); got != want {
			t.Errorf("%v requests of status %d; want %v", got, status, want)
		}
	}
	families, err := h.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprint(families); !strings.Contains(shown, "posthorn_httpapi_requests_total") || !strings.Contains(shown, "sample_count:2") {
		t.Errorf("the metrics are %s", shown)
	}
}

// TestHeadHasNoBody: what is no GET is refused in the same words.
func TestHeadHasNoBody(t *testing.T) {
	s := newHouse(nil).serve(t)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HEAD /msg/user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	raw, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(raw), "HTTP/1.1 405 ") || !strings.HasSuffix(string(raw), "\r\n\r\n") {
		t.Fatalf("%q, %v", raw, err)
	}
}

var _ http.Handler = (*Handler)(nil)
