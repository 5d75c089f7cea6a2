package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"posthorn/internal/message"
	"posthorn/internal/xmpptest"
)

// unlimited is the change of the configuration that lets a test be wrong as often as it
// likes.
var unlimited = []string{"auth:\n", "auth:\n  throttle: {failures: 1000000}\n"}

// oddNames are accounts whose names few expect, and which are accepted.
var oddNames = []string{
	"jürgen", "名前", "дима", "ა", "مرحبا", "ñandú", "a.b_c-d+e=f", "a,b", `!#$%*?^{|}~`, "`x`", `\20x`, "x%00", "=2c", "ss", "0",
}

// impostors are names that look like those of accounts that exist, me and those of
// oddNames, and that some rule or other makes one of them.
var impostors = []string{
	"JÜRGEN", "ju\u0308rgen", "ｊürgen", "jürgen\u200d", "jür\u00adgen", "jürgen\u00a0", "jürgen\ufe0f", "ﾅ前", "ДИМА", "Ა", "ß", "ẞ", "ſs", "ＳＳ", "０", "٠", "\u2070",
	"ｍe", "m\u200be", "ｍｅ", "ⓜe", "m\u2060e", "\ufeffme", "me\u00a0", "me\u3000", "ｍe\uff20example.com", "me@example\u3002com@example.com", "me\\40example.com", "m&#101;", "m\u0435",
	"me@example.com\u2024", "me@ｅxample.com", "me@EXAMPLE.com.", "me@example\u3002com", "me@exam\u00adple.com", "me@post.example.com", "me@example.com@example.com", "@example.com", "me@",
	"post.example.com", "example.com", "me\x00", "\x00me", "me\x00user", "me\n", "me\r\nuser", "me\t", " me", "me ", "me<", "me'", "me\"", "admin@example.com\x00me", "n,,n=me", "me,r=x",
}

// TestNamesOnRealServers: whom posthorn takes somebody for is whom the server takes
// them for, as sender and as recipient, letter for letter.
func TestNamesOnRealServers(t *testing.T) { onBoth(t, testNames) }

func testNames(t *testing.T, p *xmpptest.Server) {
	for _, name := range oddNames {
		p.Users(t, password, name+"@example.com")
	}
	h := startPosthorn(t, p, unlimited...).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	as := func(name string) func(*http.Request) {
		return func(r *http.Request) {
			r.SetBasicAuth(name, password)
			r.Header.Set("Content-Type", "application/json")
		}
	}
	for _, name := range oddNames {
		if a := h.mustPost(t, "/msg/user", `{"body":"from the odd"}`, as(name+"@Example.COM/phone")); a.status != http.StatusCreated {
			t.Errorf("%q cannot send: %d %s", name, a.status, a.raw)
			continue
		}
		if m := user.MustReceive(t); m.From != name+"@example.com" {
			t.Errorf("what %q sent is from %q", name, m.From)
		}
		text, _ := json.Marshal(map[string]any{"to": []string{name + "@example.com"}, "body": "to the odd"})
		if a := h.mustPost(t, "/msg", string(text), as("me")); a.status != http.StatusCreated {
			t.Errorf("to %q: %d %s", name, a.status, a.raw)
			continue
		}
		odd := p.MustLogin(t, name+"@example.com", password)
		expect(t, odd, "me@example.com", "to the odd")
		odd.Close()
	}
	for _, name := range impostors {
		if a := h.mustPost(t, "/msg/user", `{"body":"from an impostor"}`, as(name)); a.status != http.StatusUnauthorized {
			t.Errorf("%q: %d %s", name, a.status, a.raw)
		}
	}
	// What differs from an account in the case of ASCII alone is that account.
	if a := h.mustPost(t, "/msg/user", `{"body":"in capitals"}`, as("ME@EXAMPLE.COM")); a.status != http.StatusCreated {
		t.Errorf("in capitals: %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "in capitals")
	h.mustHaveOneStream(t)
}

// TestMisreadNames: Prosody takes the last "n=" of a SCRAM message for the beginning
// of the name (0.12, 2026-11), so that who has the account 2cx can log in as
// "admin,x", which SCRAM writes "admin=2Cx". The resource that is bound says who the
// server thinks it is.
func TestMisreadNames(t *testing.T) { onBoth(t, testMisreadNames) }

func testMisreadNames(t *testing.T, p *xmpptest.Server) {
	p.Users(t, "of the impostor", "2cx@example.com", "3dx@example.com")
	p.Users(t, password, "admin,x@example.com", "admin=x@example.com")
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	for _, name := range []string{"admin,x", "admin=x", "nobody-n,x", "n=x"} {
		a := h.mustPost(t, "/msg/user", "forged", func(r *http.Request) { r.SetBasicAuth(name+"@example.com", "of the impostor") })
		if a.status != http.StatusUnauthorized && a.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
}

// mustHaveOneStream fails the test where the stream was lost meanwhile.
func (h *posthorn) mustHaveOneStream(t *testing.T) {
	t.Helper()
	if !strings.Contains(h.metrics(t), "posthorn_component_reconnects_total 0") {
		t.Error("the stream was lost")
	}
}

// smuggled are texts that mean something to XML, or to a stream of it. They are
// lines, so that every field can carry them.
var smuggled = []string{
	"</body></message><message to='user@example.com' from='admin@example.com'><body>forged</body></message><message><body>",
	"</stream:stream>", "</message>", "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
	"'/><message from='admin@example.com' to='user@example.com'/><x a='", `"/><iq/><x a="`, "' from='admin@example.com", `" from="admin@example.com`, "' xmlns='urn:x", "en' xml:lang='de",
	"]]>", "<![CDATA[<body>x</body>]]>", "<![CDATA[", "x]]]]>>",
	"<!--", "-->", "<!-- x -->", "<?xml version='1.0'?>", "<?x ?>", "?>", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "<!ENTITY a SYSTEM 'file:///etc/passwd'>", "%a;",
	"&a;", "&amp;", "&lt;body&gt;", "&#60;", "&#x3C;", "&#0;", "&#xFFFE;", "&#x1;", "&", "&;", "&#;", "&amp;amp;lt;", "&quot;&apos;",
	"<", ">", "'", `"`, "<a:b xmlns:a='urn:a'/>", "xmlns:stream", "xml:lang", "{}", "<\u0221/>", "\u00e4\u4f60\U0001F600", "\u2028\u2029", "\u202e\u2066x\u2069", "\u0085\u009b31m", "\x7f", "\ufdd0", "\U0001FFFE", "\U0010FFFF", "x\ufeffy", "a\u200bb", "\ue000",
}

// A way is one by which a text gets into a stanza.
type way struct {
	name string
	make func(text string) (path, contentType, body string)
	// found is where the recipient sees it.
	found func(m xmpptest.Message) string // nil: some servers rewrite it
}

func bodyOf(m xmpptest.Message) string    { return m.Body }
func subjectOf(m xmpptest.Message) string { return m.Subject }

const (
	asText = "text/plain"
	asForm = "application/x-www-form-urlencoded"
	asJSON = "application/json"
)

func inJSON(name string) func(string) (string, string, string) {
	return func(text string) (string, string, string) {
		members, _ := json.Marshal(map[string]string{"body": "x", name: text})
		return "/msg/user", asJSON, string(members)
	}
}

func inForm(name string) func(string) (string, string, string) {
	return func(text string) (string, string, string) {
		values := url.Values{"body": {"x"}}
		values.Set(name, text)
		return "/msg/user", asForm, values.Encode()
	}
}

func inQuery(name string) func(string) (string, string, string) {
	return func(text string) (string, string, string) {
		return "/msg/user?" + url.Values{name: {text}}.Encode(), asText, "x"
	}
}

var ways = []way{
	{"text", func(text string) (string, string, string) { return "/msg/user", asText, text }, bodyOf},
	{"body in JSON", inJSON("body"), bodyOf},
	{"body in a form", inForm("body"), bodyOf},
	{"multipart", func(text string) (string, string, string) {
		return "/msg/user", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\n" + text + "\r\n--b--\r\n"
	}, bodyOf},
	{"mod_rest", func(text string) (string, string, string) {
		_, _, members := inJSON("body")(text)
		return "/rest/message/chat/user@example.com", asJSON, members
	}, bodyOf},
	{"subject in JSON", inJSON("subject"), subjectOf},
	{"subject in a query", inQuery("subject"), subjectOf},
	{"id in JSON", inJSON("id"), func(m xmpptest.Message) string { return m.ID }},
	{"id, origin-id", inQuery("id"), func(m xmpptest.Message) string { return m.OriginID }},
	{"thread", inForm("thread"), func(m xmpptest.Message) string { return m.Thread }},
	{"lang", inJSON("lang"), func(m xmpptest.Message) string { return m.Lang }},
	{"replace", inJSON("replace"), func(m xmpptest.Message) string { return m.Replace }},
	{"oob", inJSON("oob"), func(m xmpptest.Message) string { return m.OOB }},
	{"resource", func(text string) (string, string, string) {
		members, _ := json.Marshal(map[string]any{"to": []string{"user@example.com/" + text}, "body": "x"})
		return "/msg", asJSON, string(members)
	}, nil},
}

// TestNothingIsSmuggled: a text arrives as it was sent, whatever it means to XML and
// whatever field it stands in, or is refused; there is one stanza for one request,
// from its sender, and the stream stays up.
func TestNothingIsSmuggled(t *testing.T) { onBoth(t, testNothingIsSmuggled) }

func testNothingIsSmuggled(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p, append(withStore(t), unlimited...)...).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	for _, w := range ways {
		arrived, refused := 0, 0
		for _, text := range smuggled {
			path, contentType, body := w.make(text)
			a := h.mustPost(t, path, body, func(r *http.Request) { r.Header.Set("Content-Type", contentType) })
			if 400 <= a.status && a.status < 500 {
				if refused++; refused == 1 {
					t.Logf("%s: %q is refused: %s", w.name, text, a.Detail)
				}
				continue
			}
			m := user.MustReceive(t)
			if a.status != http.StatusCreated || m.From != "me@example.com" || w.found != nil && w.found(m) != text {
				t.Errorf("%s: %q became %s; answer is %d %s", w.name, text, m.Raw, a.status, a.raw)
			}
			arrived++
		}
		t.Logf("%s: %d arrived, %d refused", w.name, arrived, refused)
	}
	smuggleInHeaders(t, h, user)
	smuggleInHTML(t, h, user)
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
	h.mustHaveOneStream(t)
}

// smuggleInHeaders does it by the headers that become part of a message.
func smuggleInHeaders(t *testing.T, h *posthorn, user *xmpptest.Client) {
	for _, text := range smuggled {
		if strings.ContainsAny(text, "\x7f") { // in no header
			continue
		}
		for name, value := range map[string]string{"Title": text, "Subject": mime.BEncoding.Encode("utf-8", text+" ä")} {
			a := h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.Header.Set(name, value) })
			if a.status != http.StatusCreated {
				t.Errorf("%s %q: %d %s", name, value, a.status, a.raw)
				continue
			}
			if m := user.MustReceive(t); strings.TrimSuffix(m.Subject, " ä") != text {
				t.Errorf("%s %q became %q", name, value, m.Subject)
			}
		}
		a := h.mustPost(t, "/msg/user", "keyed", func(r *http.Request) { r.Header.Set("Idempotency-Key", text) })
		if a.status == http.StatusCreated {
			expect(t, user, "me@example.com", "keyed")
		} else if a.status != http.StatusBadRequest {
			t.Errorf("the key %q: %d %s", text, a.status, a.raw)
		}
	}
}

// smuggleInHTML: of HTML there arrives what is XHTML-IM.
func smuggleInHTML(t *testing.T, h *posthorn, user *xmpptest.Client) {
	for _, text := range smuggled {
		path, contentType, body := inForm("html")(text)
		a := h.mustPost(t, path, body, func(r *http.Request) { r.Header.Set("Content-Type", contentType) })
		if a.status == http.StatusUnprocessableEntity {
			continue
		}
		m := expect(t, user, "me@example.com", "x")
		if n := strings.Count(m.Raw, "<message"); n != 1 || strings.Contains(m.XHTML, "from=") && !strings.Contains(m.XHTML, "&") && strings.Contains(m.XHTML, "<x") {
			t.Errorf("%q became %s", text, m.Raw)
		}
	}
}

// TestNicknames: whatever nickname and password a sender chooses, the room shows the
// message once, from a nickname with the sender's own name at its end.
func TestNicknames(t *testing.T) { onBoth(t, testNicknames) }

func testNicknames(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "owner@example.com")
	h := startPosthorn(t, p).ready(t)
	r := openRoom(t, p.MustLogin(t, "owner@example.com", password), "ops", nil)
	shown, refused, last := 0, 0, ""
	for i, text := range append(smuggled, "admin", "owner", "owner (owner)", "me\x00", "a\u2024b", "ﬁ", "x²") {
		body := fmt.Sprint("said ", i)
		members, _ := json.Marshal(map[string]string{"to": r.address(), "type": "groupchat", "nick": text, "password": text, "body": body})
		a := h.mustPost(t, "/msg", string(members), func(r *http.Request) { r.Header.Set("Content-Type", asJSON) })
		if a.status >= 400 && a.status < 500 {
			refused++
			continue
		}
		nick, _ := r.hears(t, body)
		// A nickname that the server does not take leaves the sender the last one.
		if a.status != http.StatusCreated || nick != norm.NFKC.String(text)+" (me)" && nick != last {
			t.Errorf("%q is shown as %q; answer is %d %s", text, nick, a.status, a.raw)
		}
		last = nick
		shown++
	}
	t.Logf("%d shown, %d refused", shown, refused)
	h.mustHaveOneStream(t)
}

// unsendableBytes are what is no text, or none that XMPP can carry.
var unsendableBytes = []string{
	"\x00", "a\x1bb", "\x08", "\x0b", "\x0c", "\x1f", "\ufffe", "\uffff",
	"\xed\xa0\x80", "\xed\xb0\x80", "\xed\xa0\xbd\xed\xb8\x80", // surrogates, and a pair of them
	"\xc0\xbc", "\xe0\x80\xbc", "\xf0\x80\x80\xbc", "\xc0\x80", // overlong
	"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xfe", "\x80", "a\xc3", "\xe2\x82", // beyond Unicode, cut off
}

// TestNoBytesAreSmuggled: what is no text is refused, whatever field it stands in.
func TestNoBytesAreSmuggled(t *testing.T) { onBoth(t, testNoBytesAreSmuggled) }

func testNoBytesAreSmuggled(t *testing.T, p *xmpptest.Server) {
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	for _, text := range unsendableBytes {
		escaped := url.QueryEscape(text)
		quoted := strings.NewReplacer("\x00", `\u0000`, "\x08", `\u0008`, "\x0b", `\u000b`, "\x0c", `\f`, "\x1b", `\u001b`, "\x1f", `\u001f`).Replace(text)
		requests := map[string][3]string{
			"text":     {"/msg/user", asText, text},
			"resource": {"/msg/user@example.com%2F" + strings.ReplaceAll(escaped, "+", "%20"), asText, "x"},
			"name":     {"/msg/user" + escaped, asText, "x"},
		}
		for _, field := range []string{"body", "subject", "id", "thread", "lang", "nick", "password", "replace", "oob", "html", "to", "type"} {
			rest := "&body=x"
			if field == "body" {
				rest = ""
			}
			requests["form, "+field] = [3]string{"/msg/user", asForm, field + "=" + escaped + rest}
			requests["query, "+field] = [3]string{"/msg/user?" + field + "=" + escaped, asText, "x"}
			requests["JSON, "+field] = [3]string{"/msg/user", asJSON, `{"` + field + `":"` + quoted + `","text":"x"}`}
		}
		for name, request := range requests {
			switch {
			case name == "query, body", name == "query, to": // what the request has itself comes first
				continue
			case name == "name" && strings.TrimSpace(text) == "": // around a name, blanks are nothing
				continue
			}
			a := h.mustPost(t, request[0], request[2], func(r *http.Request) { r.Header.Set("Content-Type", request[1]) })
			if a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
				t.Errorf("%s, %q: %d %s", name, text, a.status, a.raw)
			}
			if strings.ContainsFunc(a.Detail, isControl) {
				t.Errorf("%s, %q: a control character in %q", name, text, a.Detail)
			}
		}
	}
	for _, half := range []string{`\ud83d`, `\ude00`, `\ud83dx`, `\ude00\ud83d`} {
		for _, field := range []string{"body", "subject", "id", "thread", "lang", "nick", "password", "replace", "oob", "html", "to"} {
			a := h.mustPost(t, "/msg/user", fmt.Sprintf(`{"%s":"%s","text":"x"}`, field, half), func(r *http.Request) { r.Header.Set("Content-Type", asJSON) })
			if a.status != http.StatusUnprocessableEntity {
				t.Errorf("%s %s: %d %s", field, half, a.status, a.raw)
			}
		}
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
	h.mustHaveOneStream(t)
}

// isControl reports whether r does something to a terminal, or to the order in which
// a line is read: C0 and C1 controls, line ends, and the marks that change direction.
func isControl(r rune) bool {
	switch {
	case r < ' ', 0x7f <= r && r <= 0x9f, r == '\u2028', r == '\u2029', '\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069', r == '\u200e', r == '\u200f', r == '\u061c':
		return true
	}
	return false
}

// forged are values that would begin a line of their own in a log, or do something
// to the terminal of who reads it.
func forged() (all []string) {
	for r := rune(0); r <= 0x2100; r++ {
		if isControl(r) || unicode.Is(unicode.C, r) {
			all = append(all, "a"+string(r)+`time=2026-11-25T00:00:00Z level=ERROR msg="forged" jid=admin@example.com`)
		}
	}
	return append(all, "\r\ntime=x level=INFO msg=\"login failed\" addr=192.0.2.1", `" level=ERROR msg="forged`, `","msg":"forged"`, "\x1b[2J\x1b]0;x\a", "\xff\x9b31m", "\U000e0041")
}

// forgedShort are some of them, for requests: a wrong password takes a while.
var forgedShort = []string{"\r\ntime=2026-11-25T00:00:00Z level=INFO msg=\"login failed\" addr=192.0.2.1", "\x00", "\x1b[2J\x1b]0;x\a", "\u009b31m", "\u2028x", "\u202ex", "\u0085x"}

// TestLogLines: a line is a line, in either form, whatever stands in it, and holds
// nothing that a terminal obeys.
func TestLogLines(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var c config
			c.Log.Level, c.Log.Format = "debug", format
			var out bytes.Buffer
			log := c.logger(&out)
			for _, value := range forged() {
				out.Reset()
				log.Info(value, "jid", message.JID(value), "to", []message.JID{message.JID(value)}, "id", value, "err", errors.New(value))
				line := out.String()
				checkLogLine(t, strings.TrimSuffix(line, "\n"))
				if json.Valid([]byte(line)) != (format == "json") {
					t.Errorf("%q is logged as %s", value, line)
				}
			}
		})
	}
}

// checkLogLine fails the test where a line has what it must not have, or is none.
func checkLogLine(t *testing.T, line string) {
	t.Helper()
	if strings.ContainsFunc(line, isControl) || !utf8.ValidString(line) {
		t.Errorf("a line of the log has a control character: %q", line)
	}
	if !strings.HasPrefix(line, "time=2") && !strings.HasPrefix(line, `{"time":"2`) {
		t.Errorf("a line of the log begins elsewhere: %q", line)
	}
	if strings.Contains(line, `msg="forged`) || strings.Contains(line, `"msg":"forged"`) {
		t.Errorf("a line of the log is forged: %q", line)
	}
}

// TestForgedRequests: the same for what a request can have logged, and a client sets
// no header of the answer.
func TestForgedRequests(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) { forgedRequests(t, format) })
	}
}

func forgedRequests(t *testing.T, format string) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p, slices.Concat(withStore(t), unlimited, []string{"log: {level: debug}", "log: {level: debug, format: " + format + "}"})...).ready(t)
	h.mustPost(t, "/msg/user", "the password is known now", nil)
	for _, value := range forgedShort {
		for _, path := range []string{"/msg/" + url.PathEscape(value), "/" + url.PathEscape(value), "/messages/" + url.PathEscape(value), "/tokens/" + url.PathEscape(value)} {
			a := h.mustPost(t, path, "x", func(r *http.Request) {
				if strings.HasPrefix(path, "/messages") {
					r.Method = http.MethodGet
				}
			})
			if strings.ContainsFunc(a.Detail, isControl) {
				t.Errorf("a control character in %q", a.Detail)
			}
		}
		members, _ := json.Marshal(map[string]any{"id": value, "type": value, "to": []string{"user@example.com/" + value}, "body": "x"})
		h.mustPost(t, "/msg", string(members), func(r *http.Request) { r.Header.Set("Content-Type", asJSON) })
		h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.SetBasicAuth(value, "wrong") })
		h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.SetBasicAuth(value+"@elsewhere.example/"+value, "wrong") })
		h.mustPost(t, "/msg/user?token="+url.QueryEscape(value), "x", func(r *http.Request) { r.Header.Del("Authorization") })
		if strings.ContainsAny(value, "\r\n\x00") {
			h.raw(t, "POST /msg/user HTTP/1.1\r\nHost: x\r\nX-"+value+": x\r\nContent-Length: 0\r\n\r\n")
			h.raw(t, value+" /msg/user HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "the stream is down", func() bool { return !h.sends() })
	for _, value := range append(forgedShort, "a/../../b?c#d", "a%0d%0aSet-Cookie: x=y", "ä b", `"><script>`) {
		members, _ := json.Marshal(map[string]any{"id": value, "body": "x"})
		a := h.mustPost(t, "/msg/user", string(members), func(r *http.Request) {
			r.Header.Set("Content-Type", asJSON)
			r.Header.Set("Origin", h.URL)
		})
		where := a.header.Get("Location")
		switch {
		case a.status == http.StatusUnprocessableEntity && where == "":
		case a.status != http.StatusAccepted || where != "/messages/"+url.PathEscape(value) || a.header.Get("Set-Cookie") != "":
			t.Errorf("%q: %d %v", value, a.status, a.header)
		default:
			if got := h.mustGet(t, where); got.status != http.StatusOK || got.ID != value {
				t.Errorf("%q is not found at %q: %d %s", value, where, got.status, got.raw)
			}
		}
	}
	for line := range strings.Lines(h.log.String()) {
		checkLogLine(t, strings.TrimSuffix(line, "\n"))
	}
}

// raw writes bytes to posthorn and gives what comes back until it closes the
// connection, or says nothing more.
func (h *posthorn) raw(t *testing.T, request string) string {
	t.Helper()
	conn := h.dialRaw(t, request)
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	out, _ := io.ReadAll(conn)
	return string(out)
}

// head is what a raw request to send has before what a test adds.
const head = "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"

// TestAmbiguousRequests: what a proxy before posthorn and posthorn itself could read
// in two ways is refused, and no request is hidden in another.
func TestAmbiguousRequests(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	p.Users(t, password, "you@example.com")
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	as := func(name string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password)) + "\r\n"
	}
	me := as("me@example.com")
	hidden := "POST /msg/user HTTP/1.1\r\nHost: x\r\n" + as("you@example.com") + "Content-Type: text/plain\r\nContent-Length: 6\r\n\r\nhidden"
	refused := map[string]string{
		"Authorization twice":                me + as("you@example.com") + "Content-Length: 1\r\n\r\nx",
		"Authorization twice, the same":      me + me + "Content-Length: 1\r\n\r\nx",
		"Authorization of two in one":        "Authorization: Basic bWU6bXlwYXNzd29yZA==, Basic eW91Om15cGFzc3dvcmQ=\r\nContent-Length: 1\r\n\r\nx",
		"Idempotency-Key twice":              me + "Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 1\r\n\r\nx",
		"Content-Type twice":                 me + "Content-Type: application/json\r\nContent-Length: 1\r\n\r\nx",
		"Content-Length twice":               me + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"Content-Length of two":              me + "Content-Length: 1, 2\r\n\r\nxx",
		"negative Content-Length":            me + "Content-Length: -1\r\n\r\nx",
		"Content-Length with a sign":         me + "Content-Length: +1\r\n\r\nx",
		"huge Content-Length":                me + "Content-Length: 18446744073709551617\r\n\r\nx",
		"two codings":                        me + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
		"unknown coding":                     me + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
		"chunked twice":                      me + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + hidden,
		"coding with a vertical tab":         me + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden,
		"blank before the colon":             me + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
		"chunk size that is none":            me + "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
		"NUL in a header":                    me + "Title: a\x00b\r\nContent-Length: 1\r\n\r\nx",
		"compressed":                         me + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
		"compressed, twice named":            me + "Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
		"authzid in the password":            "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("me\x00you@example.com:"+password)) + "\r\nContent-Length: 1\r\n\r\nx",
		"whole PLAIN message as a user name": "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("\x00me\x00"+password)) + "\r\nContent-Length: 1\r\n\r\nx",
	}
	// net/http reads these by the chunks. Then the connection ends (RFC 9112 §6.1).
	taken := map[string]string{
		"both lengths":  me + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + hidden,
		"folded header": me + "Transfer-Encoding:\r\n chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + hidden,
	}
	t.Run("all", func(t *testing.T) {
		for status, requests := range map[string]map[string]string{"4": refused, "201 ": taken} {
			for name, request := range requests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					got := h.raw(t, head+request)
					if !strings.HasPrefix(got, "HTTP/1.1 "+status) && !strings.HasPrefix(got, "HTTP/1.1 501") || strings.Count(got, "HTTP/1.1 ") != 1 {
						t.Errorf("answer is %q", got)
					}
				})
			}
		}
	})
	for range taken {
		expect(t, user, "me@example.com", "x")
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
}

// TestBombs: what is small on the wire and large in memory, from somebody who may
// send. posthorn's memory at its highest says what it cost.
func TestBombs(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	fill := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < 65000; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	bombs := map[string][2]string{
		"deep arrays":      {asJSON, `{"x":` + strings.Repeat("[", 65000)},
		"deep objects":     {asJSON, strings.Repeat(`{"x":`, 13000)},
		"deep and closed":  {asJSON, `{"body":"x","x":` + strings.Repeat("[", 9990) + strings.Repeat("]", 9990) + `}`},
		"many members":     {asJSON, `{` + fill(`"%x":0,`) + `"body":"x"}`},
		"many recipients":  {asJSON, `{"body":"x","to":[` + fill(`"%x",`) + `"user"]}`},
		"huge number":      {asJSON, `{"body":"x","ttl":1` + strings.Repeat("0", 64000) + `}`},
		"huge exponent":    {asJSON, `{"body":"x","ttl":1e999999999}`},
		"many fields":      {asForm, "body=x&" + fill("f%x=&")},
		"many parts":       {"multipart/form-data; boundary=b", fill("--b\r\nContent-Disposition: form-data; name=\"%x\"\r\n\r\n\r\n") + "--b--\r\n"},
		"header of a part": {"multipart/form-data; boundary=b", "--b\r\nX: " + strings.Repeat("x", 64000) + "\r\n\r\n\r\n--b--\r\n"},
		"entities in HTML": {asForm, "body=x&html=" + strings.Repeat("%26lt;", 10000)},
		"open elements":    {asForm, "body=x&html=" + strings.Repeat("<p>", 20000)},
		"entities in XML":  {asText, `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">` + fill("<!ENTITY b%x '&a;&a;&a;'>") + `]><x>&a;</x>`},
		"encoded words":    {asText, "x"},
	}
	before := h.peak(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for name, bomb := range bombs {
				a, err := h.post("/msg/user", bomb[1], func(r *http.Request) {
					r.Header.Set("Content-Type", bomb[0])
					if name == "encoded words" {
						r.Header.Set("Title", strings.Repeat("=?utf-8?Q?=3C?= ", 3500))
					}
				})
				if err != nil || a.status >= 500 {
					t.Errorf("%s: %d %.200s %v", name, a.status, a.raw, err)
				}
			}
		})
	}
	wait.Wait()
	after := h.peak(t)
	t.Logf("the highest resident memory was %d and is %d MiB", before>>20, after>>20)
	if after > before+160<<20 { // a third of it without the race detector
		t.Error("memory has grown")
	}
	h.mustPost(t, "/msg/user", "the last", nil)
	for user.MustReceive(t).Body != "the last" {
	}
	h.mustHaveOneStream(t)
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`)

// peak is the most memory that posthorn has had, in bytes.
func (h *posthorn) peak(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	found := peakLine.FindSubmatch(text)
	if found == nil {
		t.Fatal("the system does not tell")
	}
	kib, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return kib << 10
}

// TestPasswordChange: the old password is refused at once when the new one was used,
// and else when its verdict is no longer remembered; that the server is away brings
// none back which it has refused.
func TestPasswordChange(t *testing.T) { onBoth(t, testPasswordChange) }

func testPasswordChange(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "you@example.com")
	h := startPosthorn(t, p, append(withStore(t), "auth:\n", "auth:\n  cache: {ttl: 3s, stale_ttl: 1h}\n")...).ready(t)
	sends := func(name, word string) int {
		return h.mustPost(t, "/msg/user", "x", func(r *http.Request) { r.SetBasicAuth(name, word) }).status
	}
	for _, name := range []string{"me", "you"} {
		if got := sends(name, password); got != http.StatusCreated {
			t.Fatalf("%s: %d", name, got)
		}
		p.Users(t, "changed", name+"@example.com")
	}
	if got := sends("me", "changed"); got != http.StatusCreated {
		t.Fatalf("the new password: %d", got)
	}
	if got := sends("me", password); got != http.StatusUnauthorized {
		t.Errorf("the old password, after the new one was used: %d", got)
	}
	xmpptest.Wait(t, 10*time.Second, "the old password of you is refused", func() bool { return sends("you", password) == http.StatusUnauthorized })
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "the stream is down", func() bool { return !h.sends() })
	if got := sends("me", "changed"); got != http.StatusAccepted {
		t.Errorf("the right password, while the server is away: %d", got)
	}
	for _, name := range []string{"me", "you"} {
		if got := sends(name, password); got == http.StatusAccepted || got == http.StatusCreated {
			t.Errorf("the old password of %s, while the server is away: %d", name, got)
		}
	}
	if got := sends("you", "changed"); got != http.StatusServiceUnavailable {
		t.Errorf("a password that was never used, while the server is away: %d", got)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	p.Users(t, "changed again", "me@example.com")
	xmpptest.Wait(t, 10*time.Second, "a password that was right while the server was away is asked about again", func() bool { return sends("me", "changed") == http.StatusUnauthorized })
}

// TestTokenHolders: who has a token can do what it is for, and by no other spelling,
// path or field more than that.
func TestTokenHolders(t *testing.T) { onBoth(t, testTokenHolders) }

func testTokenHolders(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "you@example.com")
	h := startPosthorn(t, p, append(withStore(t), unlimited...)...).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	room := openRoom(t, p.MustLogin(t, "you@example.com", password), "ops", nil)
	asOwner := func(r *http.Request) { r.Header.Set("Content-Type", asJSON) }
	made := h.mustPost(t, "/tokens", `{"name":"n</x>]]>\u202a\"'&","recipients":["user@example.com"]}`, asOwner)
	if made.status != http.StatusUnprocessableEntity {
		t.Errorf("a name with a mark that does not print: %d %s", made.status, made.raw)
	}
	const name = `n</x>]]>"'&`
	members, _ := json.Marshal(map[string]any{"name": name, "recipients": []string{"User@example.com"}})
	made = h.mustPost(t, "/tokens", string(members), asOwner)
	var shown struct{ Token, Name string }
	if err := json.Unmarshal([]byte(made.raw), &shown); err != nil || made.status != http.StatusCreated || shown.Name != name {
		t.Fatalf("answer is %d %s", made.status, made.raw)
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+shown.Token) }
	typed := func(contentType string) func(*http.Request) {
		return func(r *http.Request) { bearer(r); r.Header.Set("Content-Type", contentType) }
	}
	for _, to := range []string{"user", "USER@Example.Com", "user@example.com/phone"} {
		if a := h.mustPost(t, "/msg/"+to, "allowed", bearer); a.status != http.StatusCreated {
			t.Errorf("to %s: %d %s", to, a.status, a.raw)
		}
		expect(t, user, "me@example.com", "allowed")
	}
	for what, request := range map[string][3]string{
		"another recipient":      {"/msg/you", asText, "x"},
		"itself":                 {"/msg/me", asText, "x"},
		"several, mixed":         {"/msg/user,you", asText, "x"},
		"several, in JSON":       {"/msg/user", asJSON, `{"to":["user","you@example.com"],"body":"x"}`},
		"to in the body":         {"/msg/user", asJSON, `{"to":"you","body":"x"}`},
		"to in a form":           {"/msg/user", asForm, "to=user&to=you&body=x"},
		"to in the query":        {"/msg?to=user,you", asText, "x"},
		"mod_rest":               {"/rest/message/chat/you@example.com", asJSON, `{"body":"x"}`},
		"mod_rest, in the body":  {"/rest/message/chat/user@example.com", asJSON, `{"to":"you@example.com","body":"x"}`},
		"a name at a resource":   {"/msg/you@example.com%2Fuser@example.com", asText, "x"},
		"full width":             {"/msg/ｕser@example.com", asText, "x"},
		"another domain":         {"/msg/user@example.com.evil.example", asText, "x"},
		"a room":                 {"/msg/" + room.address() + "?type=groupchat&nick=user@example.com", asText, "x"},
		"a room with a password": {"/msg/" + room.address(), asJSON, `{"type":"groupchat","password":"user@example.com","body":"x"}`},
		"more of it":             {"/tokens", asJSON, `{"name":"more"}`},
		"itself as a password":   {"/msg/you?token=" + shown.Token, asText, "x"},
	} {
		a := h.mustPost(t, request[0], request[2], typed(request[1]))
		if a.status != http.StatusForbidden && a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	for what, change := range map[string]func(*http.Request){
		"to list tokens":    func(r *http.Request) { bearer(r); r.Method = http.MethodGet; r.URL.Path = "/tokens" },
		"to revoke a token": func(r *http.Request) { bearer(r); r.Method = http.MethodDelete; r.URL.Path = "/tokens/more" },
		"tokens by its name": func(r *http.Request) {
			r.SetBasicAuth("me@example.com", shown.Token)
			r.Method = http.MethodGet
			r.URL.Path = "/tokens"
		},
		"tokens by a URL": func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.Path = "/tokens"
			r.URL.RawQuery = "token=" + shown.Token
		},
		"as another account": func(r *http.Request) { r.SetBasicAuth("you@example.com", shown.Token) },
		"as nobody":          func(r *http.Request) { r.SetBasicAuth("ghost@example.com", shown.Token) },
		"another letter":     func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.ToUpper(shown.Token)) },
		"cut short":          func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+shown.Token[:len(shown.Token)-1]) },
		"its hash": func(r *http.Request) {
			r.Header.Set("Authorization", fmt.Sprintf("Bearer %x", sha256.Sum256([]byte(shown.Token))))
		},
	} {
		if a := h.mustPost(t, "/msg/user", `{"name":"x"}`, change); a.status != http.StatusForbidden && a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	checkLookups(t, h, user, bearer)
	h.mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
	if strings.Contains(h.log.String(), shown.Token) {
		t.Error("the token stands in the log")
	}
	h.mustHaveOneStream(t)
}

// checkLookups: what became of a message is for its sender to know, and for a token
// that could have sent it.
func checkLookups(t *testing.T, h *posthorn, user *xmpptest.Client, bearer func(*http.Request)) {
	t.Helper()
	for _, to := range []string{"user", "you"} {
		if a := h.mustPost(t, "/msg/"+to, "looked up", func(r *http.Request) { r.Header.Set("Idempotency-Key", "k") }); a.status != http.StatusCreated {
			t.Fatalf("answer is %d %s", a.status, a.raw)
		} else {
			if to == "user" {
				expect(t, user, "me@example.com", "looked up")
			}
			for who, want := range map[string]int{"me": http.StatusOK, "you": http.StatusNotFound, "token": http.StatusOK} {
				if who == "token" && to == "you" {
					want = http.StatusNotFound
				}
				is := h.mustPost(t, "/messages/"+a.ID, "", func(r *http.Request) {
					r.Method = http.MethodGet
					r.SetBasicAuth(who, password)
					if who == "token" {
						bearer(r)
					}
				})
				if is.status != want {
					t.Errorf("%s asks about a message to %s: %d %s", who, to, is.status, is.raw)
				}
			}
		}
	}
}
