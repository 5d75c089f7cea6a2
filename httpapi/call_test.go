package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A call is a request as most tests make it; its zero fields have defaults.
type call struct {
	method string // POST
	path   string // /msg/user
	typ    string // Content-Type; "-": the header is missing; text/plain
	body   string
	header map[string]string // in addition to a right Authorization; "-" removes one
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool // the connection is closed after it; known on the wire only
}

// member gives a member of the JSON in the body; nil: there is none.
func (a answer) member(t testing.TB, name string) any {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(a.body), &members); err != nil {
		t.Fatalf("%d %q is no JSON object: %v", a.status, a.body, err)
	}
	return members[name]
}

func (h *house) do(t testing.TB, c call) answer {
	t.Helper()
	method, path := c.method, c.path
	if method == "" {
		method = "POST"
	}
	if path == "" {
		path = "/msg/user"
	}
	r := httptest.NewRequest(method, path, strings.NewReader(c.body))
	r.Header.Set("Content-Type", "text/plain")
	if c.typ != "" {
		r.Header.Set("Content-Type", c.typ)
	}
	r.Header.Set("Authorization", basic(me, password))
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	for name, values := range r.Header {
		if values[0] == "-" {
			r.Header.Del(name)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	checkAnswer(t, h, got)
	checkDescribed(t, h, method, escapedPath(r.URL), got)
	return got
}

// checkAnswer is true of every answer.
func checkAnswer(t testing.TB, h *house, got answer) {
	t.Helper()
	stored := "no-store"
	if got.header.Get("ETag") != "" {
		stored = "no-cache"
	}
	if got.header.Get("Cache-Control") != stored || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d without the common headers: %v", got.status, got.header)
	}
	if location := got.header.Get("Location"); (location != "") != (got.status == 202) || got.status/100 == 3 && got.status != 304 {
		t.Errorf("%d redirects to %q", got.status, location)
	}
	checkSecrets(t, h, got)
	if challenge := got.header.Get("WWW-Authenticate"); (got.status == 401) != (challenge == `Basic realm="posthorn", charset="UTF-8"` || challenge == `Bearer realm="posthorn", error="invalid_token"`) {
		t.Errorf("%d has WWW-Authenticate %q", got.status, challenge)
	}
	if strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		checkPage(t, got)
		return
	}
	if got.status < 400 || got.header.Get("Content-Type") == "application/json" || got.body == "" {
		return
	}
	if got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d is of the type %q", got.status, got.header.Get("Content-Type"))
	}
	detail, _ := got.member(t, "detail").(string)
	if detail == "" || oneLine(detail) != detail || len(detail) > 500 {
		t.Errorf("%d has the detail %q", got.status, detail)
	}
	if got.member(t, "status") != float64(got.status) || got.member(t, "type") != "about:blank" || got.member(t, "code") == "" || got.member(t, "title") == "" {
		t.Errorf("%d has the members %s", got.status, got.body)
	}
}

// checkSecrets: neither the password nor the header that holds it is shown.
func checkSecrets(t testing.TB, h *house, got answer) {
	t.Helper()
	var shown strings.Builder
	_ = got.header.Write(&shown)
	shown.WriteString(got.body)
	shown.WriteString(h.log.String())
	for _, form := range []string{password, "hunter2", strings.TrimPrefix(basic(me, password), "Basic ")} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("%q is shown in %s", form, shown.String())
		}
	}
}

// serve puts the house behind a real listener.
func (h *house) serve(t testing.TB) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// wire sends bytes as they are and reads one answer.
func wire(t testing.TB, s *httptest.Server, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, bufio.NewReader(conn))
}

func readAnswer(t testing.TB, in *bufio.Reader) answer {
	t.Helper()
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body), response.Close}
}

// try sends what a fuzzer made up; not sendable: net/http would refuse it.
func (h *house) try(path, typ, title, key string, body []byte) (got answer, sendable bool) {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return got, false
	}
	r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
	r.URL = u
	r.Header = http.Header{"Content-Type": {typ}, "Title": {title}, "Authorization": {basic(me, password)}}
	if key != "" {
		r.Header["Idempotency-Key"] = []string{key}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{status: w.Code, header: w.Header(), body: w.Body.String()}, true
}
