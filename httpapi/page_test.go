package httpapi

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

var (
	// What the browser loads of a page, and what a module imports.
	references = regexp.MustCompile(`(?:src|href)="([^"]+)"|from "(\./[^"]+)"`)
	// What the page's policy forbids, or would lead elsewhere.
	inline = regexp.MustCompile(`(?i)<script(?:>| [^>]*[^>"]>)|<style|\sstyle=|\son[a-z]+=|https?:|javascript:|"//|@import|(?-i:[ :]url\()`)
)

// checkPage is true of every page.
func checkPage(t testing.TB, got answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy":    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		"Referrer-Policy":            "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q", name, got.header.Get(name))
		}
	}
	if !strings.Contains(got.header.Get("Permissions-Policy"), "camera=()") {
		t.Errorf("Permissions-Policy is %q", got.header.Get("Permissions-Policy"))
	}
	if found := inline.FindString(strings.ReplaceAll(got.body, "curl http:", "")); found != "" {
		t.Errorf("the page has %q", found)
	}
}

func get(path string, header ...string) call {
	c := call{method: "GET", path: path, header: map[string]string{"Authorization": "-"}}
	for i := 0; i+1 < len(header); i += 2 {
		c.header[header[i]] = header[i+1]
	}
	return c
}

// TestPage: it is there, with all that it needs, and asks nobody else.
func TestPage(t *testing.T) {
	h := newHouse(nil)
	page := h.do(t, get("/"))
	if page.status != 200 || page.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(page.body, `action="./msg"`) {
		t.Fatalf("%d %v %s", page.status, page.header, page.body)
	}
	looked := map[string]bool{}
	var look func(from, body string)
	look = func(from, body string) {
		for _, r := range references.FindAllStringSubmatch(body, -1) {
			path := "/" + r[1]
			if r[2] != "" {
				path = "/page/" + strings.TrimPrefix(r[2], "./")
			}
			if looked[path] {
				continue
			}
			if path == "/docs" {
				continue // a page of its own
			}
			looked[path] = true
			file := h.do(t, get(path))
			if file.status != 200 || file.header.Get("Content-Security-Policy") == "" || file.header.Get("ETag") == "" {
				t.Errorf("%s wants %s: %d %v", from, path, file.status, file.header)
			}
			if found := inline.FindString(strings.ReplaceAll(file.body, "http://www.w3.org/2000/svg", "")); found != "" {
				t.Errorf("%s has %q", path, found)
			}
			look(path, file.body)
		}
	}
	look("/", page.body)
	if want := len(h.files) - 2; len(looked) != want { // the page itself, and the style of /docs
		t.Errorf("of %d files these are used: %v", want, looked)
	}
}

// TestPageAnswers: methods, conditions, and paths that are none.
func TestPageAnswers(t *testing.T) {
	etag := newHouse(nil).do(t, get("/page/style.css")).header.Get("ETag")
	for _, test := range []struct {
		name string
		call call
		want int
	}{
		{"HEAD", call{method: "HEAD", path: "/"}, 200},
		{"with a query", get("/?x"), 200},
		{"slashes", get("//"), 200},
		{"the same file", get("/page/style.css", "If-None-Match", etag), 304},
		{"the same, compressed by a proxy", get("/page/style.css", "If-None-Match", `"x", W/`+etag), 304},
		{"another", get("/page/style.css", "If-None-Match", `"x"`), 200},
		{"the page, whatever was known", get("/", "If-None-Match", `""`), 200},
		{"no file", get("/page/x.css"), 404},
		{"the template", get("/page/told.html"), 404},
		{"the page as a file", get("/page/"), 404},
		{"the folder", get("/page"), 404},
		{"no message", call{path: "/page/style.css"}, 405},
		{"DELETE", call{method: "DELETE", path: "/"}, 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := newHouse(nil).do(t, test.call); got.status != test.want {
				t.Errorf("%d %v %.80s", got.status, got.header, got.body)
			}
		})
	}
}

// TestNoPageAtTheRoot: where messages are at the root, its paths are recipients.
func TestNoPageAtTheRoot(t *testing.T) {
	for _, base := range []string{"", "/"} {
		h := newHouse(func(o *Options) { o.Path = base })
		for _, path := range []string{"/", "/page/style.css", "/status"} {
			if got := h.do(t, get(path)); got.status != 405 || strings.Contains(got.body, "<html") {
				t.Errorf("%q %s: %d %s", base, path, got.status, got.body)
			}
		}
		if got := h.do(t, call{path: "/status", body: "x"}); got.status != 201 || h.deliverer.take()[0].To != "status@example.com" {
			t.Errorf("%q: %d %s", base, got.status, got.body)
		}
	}
}

// TestPageElsewhere: the form leads to http.path, and the way back from there to the page.
func TestPageElsewhere(t *testing.T) {
	for base, want := range map[string][2]string{"/a/b": {"./a/b", "./../"}, "/pöst": {"./p%c3%b6st", "./"}, "/a:b": {"./a:b", "./"}, `/"><script>`: {"./%22%3e%3cscript%3e", "./"}} {
		h := newHouse(func(o *Options) { o.Path = base })
		if got := h.do(t, get("/")); !strings.Contains(got.body, `action="`+want[0]+`"`) {
			t.Errorf("%s: %s", base, regexp.MustCompile(`action=.*`).FindString(got.body))
		}
		path := strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E").Replace(base)
		got := h.do(t, call{path: path, typ: asForm, body: "to=user&body=x", header: map[string]string{"Accept": "text/html"}})
		if got.status != 201 || !strings.Contains(got.body, `<a href="`+want[1]+`"`) {
			t.Errorf("%s: %d %s", base, got.status, got.body)
		}
	}
}

// TestTransportSecurity: said over TLS of our own, on the port that the name is known by,
// and on the page alone.
func TestTransportSecurity(t *testing.T) {
	h := newHouse(nil)
	for _, test := range []struct {
		host, path string
		tls        bool
		want       string
	}{
		{"post.example.com", "/", true, "max-age=31536000"},
		{"post.example.com:5288", "/", true, ""},
		{"post.example.com", "/", false, ""},
		{"post.example.com", "/healthz", true, ""},
	} {
		r := httptest.NewRequest("GET", test.path, nil)
		r.Host = test.host
		if test.tls {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Strict-Transport-Security"); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// What browsers and others accept.
const (
	chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	lynx     = "text/html, text/plain, text/sgml, text/css, */*;q=0.01"
)

// TestAnswerForPeople: who sends the page's form without its script reads the true
// outcome on a page; everybody else gets JSON, with the same status.
func TestAnswerForPeople(t *testing.T) {
	outcomes := map[message.JID]any{
		"ghost@example.com": fault.New(fault.Undeliverable, "the server would not deliver <there>"),
		"away@example.com":  message.Kept, "far@example.com": message.Routed,
		"slow@example.com": fault.New(fault.Unconfirmed, "no answer in time"),
	}
	const multipart = "--b\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nuser\r\n--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nx\r\n--b--\r\n"
	for _, test := range []struct {
		name   string
		call   call
		accept string
		status int
		says   string // on a page; "": it is JSON
	}{
		{"delivered", call{typ: asForm, body: "to=user&body=x&type=chat"}, chromium, 201, "<h1>Delivered</h1>"},
		{"by another browser", call{typ: asForm, body: "to=user&body=x"}, lynx, 201, "<h1>Delivered</h1>"},
		{"multipart", call{typ: "multipart/form-data; boundary=b", body: multipart}, chromium, 201, "<h1>Delivered</h1>"},
		{"routed", call{typ: asForm, body: "to=far&body=x"}, chromium, 201, "<h1>Routed</h1>"},
		{"queued", call{typ: asForm, body: "to=away&body=x"}, chromium, 202, "<h1>Queued</h1>"},
		{"bounced", call{typ: asForm, body: "to=ghost&body=x"}, chromium, 404, "the server would not deliver &lt;there&gt;"},
		{"not confirmed", call{typ: asForm, body: "to=slow&body=x"}, chromium, 504, "<h1>Not confirmed</h1>"},
		{"to some", call{typ: asForm, body: "to=ghost,user&body=x"}, chromium, 207, "<li>user@example.com: Delivered</li>"},
		{"no recipient", call{typ: asForm, body: "to=&body=x"}, chromium, 422, "to: is empty"},
		{"markup", call{typ: asForm, body: "to=%3Cscript%3Ealert(1)%3C/script%3E@&body=x"}, chromium, 422, "&lt;script&gt;"},
		{"an id with markup", call{typ: asForm, body: "to=user&body=x&id=%3Cscript%3E"}, chromium, 201, "&lt;script&gt;"},
		{"wrong password", call{typ: asForm, body: "to=user&body=x", header: map[string]string{"Authorization": basic(me, "x")}}, chromium, 401, "wrong password"},
		{"another origin", call{typ: asForm, body: "to=user&body=x", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, chromium, 403, "another origin"},
		{"curl", call{typ: asForm, body: "to=user&body=x"}, "*/*", 201, ""},
		{"nothing said", call{typ: asForm, body: "to=user&body=x"}, "", 201, ""},
		{"JSON wanted more", call{typ: asForm, body: "to=user&body=x"}, "text/html;q=0.5, application/json", 201, ""},
		{"both alike", call{typ: asForm, body: "to=user&body=x"}, "text/html, application/json", 201, ""},
		{"not wanted", call{typ: asForm, body: "to=user&body=x"}, "text/html;q=0", 201, ""},
		{"the page's script", call{typ: asJSON, body: `{"to":"user","body":"x"}`}, "application/json", 201, ""},
		{"JSON from a browser", call{typ: asJSON, body: `{"to":"user","body":"x"}`}, chromium, 201, ""},
		{"a webhook", call{path: "/hook/json/user", typ: asForm, body: "a=b"}, chromium, 201, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			h.deliverer.outcomes = outcomes
			c := test.call
			if c.path == "" {
				c.path = "/msg"
			}
			if c.header == nil {
				c.header = map[string]string{}
			}
			c.header["Accept"] = test.accept
			got := h.do(t, c)
			isPage := got.header.Get("Content-Type") == "text/html; charset=utf-8"
			if got.status != test.status || isPage != (test.says != "") || !strings.Contains(got.body, test.says) {
				t.Errorf("%d %v\n%s", got.status, got.header, got.body)
			}
			if isPage && !strings.Contains(got.body, `<a href="./">`) {
				t.Errorf("no way back: %s", got.body)
			}
		})
	}
}

// TestWords: whatever a message may come to has a word of its own, and what a failure
// may be called has one.
func TestWords(t *testing.T) {
	for _, s := range []message.Status{message.Delivered, message.Routed, message.Kept, refused, failed, message.Status(message.Bounced), message.Status(message.Rejected), message.Status(message.Expired)} {
		if w := wordFor("", s); w.Status != string(s) || w.Title == "" || w.Text == "" {
			t.Errorf("%s: %+v", s, w)
		}
	}
	for _, kind := range fault.Kinds() {
		want := "Not sent"
		switch kind {
		case fault.Unconfirmed: // else it would say more than is known
			want = "Not confirmed"
		case fault.Rejected:
			want = "Rejected"
		}
		if got := wordFor(kind.String(), failed); got.Title != want || got.Mood != "bad" {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// TestFilesAreCounted: 304 is an answer like others.
func TestFilesAreCounted(t *testing.T) {
	if newHouse(nil).metrics.answers[http.StatusNotModified] == nil {
		t.Error("304 would be counted as 500")
	}
}
