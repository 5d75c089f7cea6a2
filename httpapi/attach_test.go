package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

const png = "\x89PNG\r\n\x1a\n\x00\x01\x02\xff"

// A part is one of a form: a file where it has a name.
type part struct{ field, filename, typ, content string }

// form makes a request of them.
func form(parts ...part) call {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range parts {
		header := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name="%s"`, p.field)}}
		if p.filename != "" {
			header["Content-Disposition"][0] += fmt.Sprintf(`; filename="%s"`, p.filename)
		}
		if p.typ != "" {
			header.Set("Content-Type", p.typ)
		}
		out, _ := w.CreatePart(header)
		_, _ = io.WriteString(out, p.content)
	}
	_ = w.Close()
	return call{typ: w.FormDataContentType(), body: body.String()}
}

// raw is a request whose body may be the file.
func raw(path, typ, body string) call { return call{path: path, typ: typ, body: body} }

func file(name, typ, content string) upload {
	return upload{message.File{Name: name, Type: typ, Size: int64(len(content))}, me, content}
}

// TestAttach: what goes up, and what the message says.
func TestAttach(t *testing.T) {
	large := strings.Repeat("0123456789abcdef\n", 1<<13) // 136 KiB
	coloured := "\x1b[1;31mERROR\x1b[0m \x00\x07\xff disk\tfull\r\n\r\n" + large
	utf16 := "\xff\xfe" + utf16le("Gr\xfc\xdfe\n"+large)
	const lines = "0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n0123456789abcdef"
	for _, test := range []struct {
		name string
		call call
		file upload
		body string // "": the link alone
	}{
		{"a picture", form(part{"file", "x.png", "image/png", png}), file("x.png", "image/png", png), ""},
		{"a picture and a text", form(part{"body", "", "", "look\r\n"}, part{"file", "x.png", "image/png", png}), file("x.png", "image/png", png), "look"},
		{"the text behind it", form(part{"file", "x.png", "image/png", png}, part{"message", "", "", "a\nb"}), file("x.png", "image/png", png), "a\nb"},
		{"an empty text", form(part{"body", "", "", ""}, part{"file", "x.png", "image/png", png}), file("x.png", "image/png", png), ""},
		{"in a field of ours", form(part{"body", "report.txt", "text/plain; charset=latin1", "\xe4"}), file("report.txt", "text/plain", "\xe4"), ""},
		{"in a field without a name", form(part{"", "x.png", "image/png", png}), file("x.png", "image/png", png), ""},
		{"of no type", form(part{"f", "x", "", png}), file("x", "application/octet-stream", png), ""},
		{"of a type that is none", form(part{"f", "x", "a b; c", png}), file("x", "application/octet-stream", png), ""},
		{"of a name that is none", form(part{"f", "-", "image/jpeg", png}), file("file.jpg", "image/jpeg", png), ""},
		{"of a type that nobody knows", form(part{"f", "..", "x/y", png}), file("file.bin", "x/y", png), ""},
		{"a path for a name", form(part{"f", "../../etc/pass wd", "x/y", png}), file("pass_wd", "x/y", png), ""},
		{"quoted-printable", call{typ: "multipart/form-data; boundary=b", body: "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FF=\r\n\r\n--b--\r\n"}, file("x", "application/octet-stream", "\xff"), ""},
		{"a large one", form(part{"f", "x.log", "text/plain", large}), file("x.log", "text/plain", large), ""},
		{"as large as may be", form(part{"f", "x", "x/y", strings.Repeat("x", 1<<20)}), file("x", "x/y", strings.Repeat("x", 1<<20)), ""},

		{"a raw picture", raw("/msg/user?attach=1", "image/png", png), file("file.png", "image/png", png), ""},
		{"a raw picture with a name", raw("/msg/user?attach=1&filename=h%C3%A4.png", "image/png", png), file("hä.png", "image/png", png), ""},
		{"a raw picture with a text", raw("/msg/user?attach=1&body=look", "image/png", png), file("file.png", "image/png", png), "look"},
		{"a raw picture of no type", raw("/msg/user?attach=1", "-", png+strings.Repeat("x", 70000)), file("file.png", "image/png", png+strings.Repeat("x", 70000)), ""},
		{"a small one of no type", raw("/msg/user?attach=1", "-", png), file("file.png", "image/png", png), ""},
		{"bytes", raw("/msg/user?attach=yes&filename=core", "application/octet-stream", "\x00"), file("core", "application/octet-stream", "\x00"), ""},
		{"CSV", raw("/msg/user?attach=1", "text/csv; charset=utf-8", "a,b"), file("file.csv", "text/csv", "a,b"), ""},
		{"to mod_rest's path", raw("/rest/message/normal/user@example.com?attach=1", "image/png", png), file("file.png", "image/png", png), ""},

		{"a large text", raw("/msg/user?attach=1", "text/plain", large), file("message.txt", "text/plain", large), lines + "\n…"},
		{"a large text of no type", raw("/msg/user?attach=1", "-", large), file("message.txt", "text/plain", large), lines + "\n…"},
		{"a large text by curl -d", raw("/msg/user?attach=1", "application/x-www-form-urlencoded", large), file("message.txt", "text/plain", large), lines + "\n…"},
		{"lines of JSON by curl -d", raw("/msg/user?attach=1", "application/x-www-form-urlencoded", "{}\n"+large), file("message.txt", "text/plain", "{}\n"+large), "{}\n" + lines[:4*17-1] + "\n…"},
		{"a log with colours", raw("/msg/user?attach=1&filename=a.log", "text/plain", coloured), file("a.log", "text/plain", coloured), "ERROR  disk\tfull\n\n" + lines[:3*17-1] + "\n…"},
		{"one long line", raw("/msg/user?attach=1", "text/plain", strings.Repeat("ä", 70000)), file("message.txt", "text/plain", strings.Repeat("ä", 70000)), strings.Repeat("ä", 250) + "\n…"},
		{"blanks", raw("/msg/user?attach=1", "text/plain", strings.Repeat(" \n", 70000)), file("message.txt", "text/plain", strings.Repeat(" \n", 70000)), ""},
		{"UTF-16", raw("/msg/user?attach=1", "text/plain; charset=utf-16", utf16), file("message.txt", "text/plain", utf16), "Grüße\n" + lines[:4*17-1] + "\n…"},
		{"Latin-1", raw("/msg/user?attach=1", "text/plain; charset=iso-8859-1", "Gr\xfc\xdfe\n"+large), file("message.txt", "text/plain", "Gr\xfc\xdfe\n"+large), "Grüße\n" + lines[:4*17-1] + "\n…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			got := h.do(t, test.call)
			if got.status != 201 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if diff := cmp.Diff([]upload{test.file}, h.uploader.take()); diff != "" {
				t.Errorf("something else went up: %.1000s", diff)
			}
			sent := h.deliverer.take()
			want := link
			if test.body != "" {
				want = test.body + "\n" + link
			}
			if len(sent) != 1 || sent[0].Body != want || sent[0].OOB.URL != link || sent[0].Validate() != nil {
				t.Errorf("sent %+v, want %q", sent, want)
			}
			h.noneLeft(t)
		})
	}
}

// noneLeft: nobody has a berth any more.
func (h *house) noneLeft(t *testing.T) {
	t.Helper()
	h.berths.mu.Lock()
	defer h.berths.mu.Unlock()
	if h.berths.taken != 0 || len(h.berths.of) != 0 {
		t.Errorf("%d files are still under way: %v", h.berths.taken, h.berths.of)
	}
}

// TestNoAttach: what stays a message, with or without ?attach=1.
func TestNoAttach(t *testing.T) {
	for _, test := range []struct {
		name string
		call call
		body string
	}{
		{"a small text", raw("/msg/user?attach=1&filename=x.txt", "text/plain", "small"), "small"},
		{"as large as may be", raw("/msg/user?attach=1", "text/plain", strings.Repeat("x", 65536)), strings.Repeat("x", 65536)},
		{"a small text of no type", raw("/msg/user?attach=1", "-", "small"), "small"},
		{"by curl -d", raw("/msg/user?attach=1", "application/x-www-form-urlencoded", "load=5"), "load=5"},
		{"a form", raw("/msg?attach=1", "application/x-www-form-urlencoded", "to=user&body=x"), "x"},
		{"JSON", raw("/msg?attach=1", "application/json", `{"to":"user","body":"x"}`), "x"},
		{"a form of parts", form(part{"body", "", "", "x"}, part{"other", "", "", "y"}), "x"},
		{"a page's empty field for files", call{typ: "multipart/form-data; boundary=b", body: "--b\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n"}, "x"},
		{"not wanted", raw("/msg/user?attach=0", "text/plain", "x"), "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			got := h.do(t, test.call)
			sent := h.deliverer.take()
			if got.status != 201 || len(sent) != 1 || sent[0].Body != test.body || sent[0].OOB.URL != "" || len(h.uploader.take()) > 0 {
				t.Errorf("%d %s, sent %+v", got.status, got.body, sent)
			}
		})
	}
}

// TestAttachFields: the fields of the message are where they are ever.
func TestAttachFields(t *testing.T) {
	h := newHouse(nil)
	got := h.do(t, form(part{"to", "", "", "user,ops@rooms.example.com"}, part{"type", "", "", "groupchat"}, part{"f", "x.png", "image/png", png}))
	if got.status != 422 || !strings.Contains(got.body, "is no room") || len(h.uploader.take()) > 0 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	c := form(part{"to", "", "", "a"}, part{"to", "", "", "b@example.org/x"}, part{"f", "x.png", "image/png", png}, part{"subject", "", "", "s"}, part{"html", "", "", "<b>look</b>"}, part{"body", "", "", "look"}, part{"ttl", "", "", "1h"}, part{"id", "", "", "1"})
	c.path = "/msg"
	if got = h.do(t, c); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for i, m := range h.deliverer.take() {
		want := message.Message{From: me, To: []message.JID{"a@example.com", "b@example.org/x"}[i], Type: message.Chat, ID: "1", Subject: "s", Body: "look\n" + link, TTL: time.Hour,
			HTML: `<strong>look</strong><br/><a href="` + link + `">` + link + `</a>`, OOB: message.OOB{URL: link}}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(h.uploader.take()); n != 1 {
		t.Errorf("%d files went up for two recipients", n)
	}
	c = raw("/msg/ops@rooms.example.com?attach=1&type=groupchat&nick=Bot&subject=s", "image/png", png)
	c.header = map[string]string{"Title": "ignored"}
	if got = h.do(t, c); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if m := h.deliverer.take()[0]; m.Type != message.GroupChat || m.Nick != "Bot" || m.Subject != "s" || m.Body != link {
		t.Errorf("sent %+v", m)
	}
}

// TestAttachRefused: nothing goes up for a message that is not sent.
func TestAttachRefused(t *testing.T) {
	picture := part{"f", "x.png", "image/png", png}
	large := strings.Repeat("x=y&", 20000)
	for _, test := range []struct {
		name   string
		call   call
		status int
		detail string
	}{
		{"two files", form(picture, picture), 422, "more than one file"},
		{"an empty file", form(part{"f", "x", "x/y", ""}), 422, "the file is empty"},
		{"no recipient", call{path: "/msg", typ: form(picture).typ, body: form(picture).body}, 422, "to: is missing"},
		{"a wrong recipient", raw("/msg/a%20b?attach=1", "image/png", png), 422, "to: "},
		{"a wrong field", form(picture, part{"type", "", "", "shout"}), 422, "type: "},
		{"a wrong field before", form(part{"ttl", "", "", "soon"}, picture), 422, "ttl: "},
		{"a control character", form(picture, part{"body", "", "", "\x01"}), 422, "U+0001"},
		{"an URL of another", form(picture, part{"oob", "", "", "https://example.org/"}), 422, "oob: is given beside a file"},
		{"the same by query", raw("/msg/user?attach=1&oob=x", "image/png", png), 422, "oob: is given beside a file"},
		{"cut off", call{typ: "multipart/form-data; boundary=b", body: "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\nx"}, 400, "the body ended before"},
		{"no boundary", call{typ: "multipart/form-data", body: "x"}, 400, "boundary"},
		{"a large file", form(part{"f", "x", "x/y", strings.Repeat("x", 1<<20+1)}), 413, "larger than 1048576 bytes (http.max_attachment)"},
		{"far too large", form(part{"f", "x", "x/y", strings.Repeat("x", 1<<21)}), 413, "larger than 1048576 bytes (http.max_attachment)"},
		{"a large raw file", raw("/msg/user?attach=1", "image/png", strings.Repeat("x", 1<<20+1)), 413, "larger than 1048576 bytes (http.max_attachment)"},
		{"large fields", form(part{"body", "", "", strings.Repeat("x", 80000)}, picture), 413, "larger than 65536 bytes"},
		{"large fields behind", form(picture, part{"body", "", "", strings.Repeat("x", 80000)}), 413, "larger than 65536 bytes"},
		{"large parts of no field", form(picture, part{"x", "", "", strings.Repeat("x", 80000)}), 413, "larger than 65536 bytes"},
		{"a huge header of a part", call{typ: "multipart/form-data; boundary=b", body: "--b\r\nX: " + strings.Repeat("x", 80000)}, 413, "larger than 65536 bytes"},
		{"a large text", raw("/msg/user", "text/plain", large), 413, "larger than 65536 bytes: with ?attach=1 in the URL, text goes as a file"},
		{"large JSON", raw("/msg/user?attach=1", "application/json", `{"body":"`+large+`"}`), 413, "fields do not go as a file"},
		{"a large form", raw("/msg/user?attach=1", "application/x-www-form-urlencoded", "body=x&"+large), 413, "fields do not go as a file"},
		{"a large escaped text", raw("/msg/user?attach=1", "application/x-www-form-urlencoded", strings.Repeat("a%20b", 20000)), 413, "fields do not go as a file"},
		{"attach twice", raw("/msg/user?attach=1&attach=1", "image/png", png), 400, "attach: is given twice"},
		{"filename twice", raw("/msg/user?attach=1&filename=a&filename=b", "image/png", png), 400, "filename: is given twice"},
		{"compressed", call{path: "/msg/user?attach=1", typ: "image/png", body: png, header: map[string]string{"Content-Encoding": "gzip"}}, 415, "compressed"},
		{"an unknown charset", raw("/msg/user?attach=1", "text/plain; charset=x-none", large), 415, "x-none"},
		{"without attach", raw("/msg/user", "image/png", png), 415, "image/png"},
		{"a bad key", call{path: "/msg/user?attach=1", typ: "image/png", body: png, header: map[string]string{"Idempotency-Key": "a b"}}, 400, "Idempotency-Key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			got := h.do(t, test.call)
			detail, _ := got.member(t, "detail").(string)
			if got.status != test.status || !strings.Contains(detail, test.detail) {
				t.Errorf("%d %s, want %d %q", got.status, got.body, test.status, test.detail)
			}
			if sent, up := h.deliverer.take(), h.uploader.take(); len(sent) > 0 || len(up) > 0 {
				t.Errorf("sent %v, and %d files went up", sent, len(up))
			}
			h.noneLeft(t)
		})
	}
}

// TestAttachPolicy: who may not send the message gets no file uploaded.
func TestAttachPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Options)
		path   string
		limits token.Request // "": a password
		status int
	}{
		"sender not listed":             {func(o *Options) { o.Senders = []string{"you@example.com"} }, "/msg/user", token.Request{}, 403},
		"a remote recipient":            {func(o *Options) { o.RecipientsLocal = true }, "/msg/a@example.org", token.Request{}, 403},
		"a token for others":            {nil, "/msg/user", token.Request{Name: "x", Recipients: []string{"you@example.com"}}, 403},
		"a token for webhooks":          {nil, "/msg/user", token.Request{Name: "x", Templates: []string{"github"}}, 403},
		"a token for other networks":    {nil, "/msg/user", token.Request{Name: "x", Networks: []string{"10.0.0.0/8"}}, 403},
		"a token that has to be signed": {nil, "/msg/user", token.Request{Name: "x", Signing: secret.New("s")}, 403},
		"too many messages":             {func(o *Options) { o.MessagesPerSecond, o.Burst = 1, 1 }, "/msg/user,you", token.Request{}, 429},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(test.change)
			c := form(part{"f", "x.png", "image/png", png})
			c.path = test.path
			if test.limits.Name != "" {
				c.header = map[string]string{"Authorization": "Bearer " + h.made(t, me, test.limits)}
			}
			if test.status == 429 {
				h.do(t, call{body: "the burst"})
				h.deliverer.take()
			}
			got := h.do(t, c)
			if sent, up := h.deliverer.take(), h.uploader.take(); got.status != test.status || len(sent) > 0 || len(up) > 0 {
				t.Errorf("%d %s, sent %v, and %d files went up", got.status, got.body, sent, len(up))
			}
			h.noneLeft(t)
		})
	}
}

// TestAttachSigned: a file may be in a body that is signed, if that is small.
func TestAttachSigned(t *testing.T) {
	h := newHouse(nil)
	text := h.made(t, me, token.Request{Name: "x", Signing: secret.New("s")})
	for _, test := range []struct {
		content string
		status  int
	}{{png, 201}, {strings.Repeat("x", 70000), 413}} {
		c := form(part{"f", "x.png", "image/png", test.content})
		c.header = map[string]string{"Authorization": "Bearer " + text, "X-Gitea-Signature": macOf("s", []byte(c.body))}
		if got := h.do(t, c); got.status != test.status {
			t.Errorf("%d %s, want %d", got.status, got.body, test.status)
		}
	}
	if got := h.uploader.take(); len(got) != 1 || got[0].Content != png {
		t.Errorf("%d files went up", len(got))
	}
}

// TestAttachNobody: without a proof of who it is, no byte is read.
func TestAttachNobody(t *testing.T) {
	for name, header := range map[string]string{"none": "", "wrong": basic(me, "wrong"), "unknown": basic("ghost@example.com", password), "a token": "Bearer ph_x"} {
		for _, typ := range []string{"multipart/form-data; boundary=b", "image/png", "text/plain"} {
			h := newHouse(nil)
			r := httptest.NewRequest("POST", "/msg/user?attach=1", unreadable{t})
			r.ContentLength = 1 << 19
			r.Header.Set("Content-Type", typ)
			if header != "" {
				r.Header.Set("Authorization", header)
			}
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != 401 {
				t.Errorf("%s, %s: %d %s", name, typ, w.Code, w.Body)
			}
		}
	}
}

// TestAttachOff: with max_attachment at 0 there are no files, and none is left out
// silently.
func TestAttachOff(t *testing.T) {
	off := func(o *Options) { o.Uploads, o.MaxAttachment = nil, 0 }
	for _, test := range []struct {
		name   string
		call   call
		status int
		detail string
	}{
		{"a file", form(part{"body", "", "", "look"}, part{"f", "x.png", "image/png", png}), 422, "http.max_attachment is 0"},
		{"a raw file", raw("/msg/user?attach=1", "image/png", png), 415, "image/png"},
		{"a large text", raw("/msg/user?attach=1", "text/plain", strings.Repeat("x", 70000)), 413, "larger than 65536 bytes"},
	} {
		h := newHouse(off)
		got := h.do(t, test.call)
		if detail, _ := got.member(t, "detail").(string); got.status != test.status || !strings.Contains(detail, test.detail) || strings.Contains(detail, "attach=1") || len(h.deliverer.take()) > 0 {
			t.Errorf("%s: %d %s", test.name, got.status, got.body)
		}
	}
	h := newHouse(off)
	if got := h.do(t, form(part{"body", "", "", "x"})); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestUploadFails: what the uploader says is the answer, and no message is sent.
func TestUploadFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		status int
		wait   string
	}{
		{"forbidden", fault.New(fault.Forbidden, "let it in"), 403, ""},
		{"too large", fault.New(fault.TooLarge, "too large"), 413, ""},
		{"quota", fault.New(fault.Unavailable, "quota").After(time.Hour), 503, "3600"},
		{"given up", context.DeadlineExceeded, 504, "10"},
		{"a mistake of ours", errors.New("oops"), 500, ""},
	} {
		for _, early := range []bool{false, true} {
			h := newHouse(nil)
			if early {
				h.uploader.limitErr = test.err
			} else {
				h.uploader.err = test.err
			}
			got := h.do(t, form(part{"f", "x.png", "image/png", png}))
			if got.status != test.status || got.header.Get("Retry-After") != test.wait || len(h.deliverer.take()) > 0 {
				t.Errorf("%s, early %v: %d %v %s", test.name, early, got.status, got.header, got.body)
			}
			h.noneLeft(t)
		}
	}
	h := newHouse(nil)
	h.uploader.limit = 5
	if got := h.do(t, form(part{"f", "x.png", "image/png", png})); got.status != 413 || !strings.Contains(got.body, "larger than 5 bytes (the limit of the XMPP server's upload service)") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := h.do(t, form(part{"f", "x.png", "image/png", png[:5]})); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestAttachOnce: with a key, a request is the same only with the same file.
func TestAttachOnce(t *testing.T) {
	h := newHouse(nil)
	ask := func(parts ...part) (message.Request, string) {
		c := form(parts...)
		c.header = map[string]string{"Idempotency-Key": "k"}
		got := h.do(t, c)
		if got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		id, _ := got.member(t, "id").(string)
		return h.deliverer.requests[len(h.deliverer.requests)-1], id
	}
	first, id := ask(part{"f", "x.png", "image/png", png})
	again, same := ask(part{"f", "x.png", "image/png", png})
	if first.Scope == "" || first.Scope != again.Scope || first.Digest != again.Digest || id != same {
		t.Errorf("the same request is another: %q %q, %q %q, %s %s", first.Scope, again.Scope, first.Digest, again.Digest, id, same)
	}
	seen := map[string]bool{first.Digest: true}
	for _, other := range [][]part{
		{{"f", "x.png", "image/png", png + "x"}}, {{"f", "y.png", "image/png", png}}, {{"f", "x.png", "image/gif", png}},
		{{"f", "x.png", "image/png", png}, {"body", "", "", "text"}}, {{"body", "", "", "x.png"}}, {{"body", "", "", "x.png"}, {"f", "x.png", "image/png", png}, {"subject", "", "", "s"}},
	} {
		r, _ := ask(other...)
		if seen[r.Digest] {
			t.Errorf("%v is the same as another", other)
		}
		seen[r.Digest] = true
	}
	h.uploader.take()
	h.deliverer.knows = true
	if ask(part{"f", "x.png", "image/png", png}); len(h.uploader.take()) != 0 {
		t.Error("a file goes up for a request that is known")
	}
}

// TestSpool: a file has no name while it is under way, and a directory that cannot be
// written to is no mistake of the client's.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(func(o *Options) { o.SpoolDir = dir })
	h.uploader.begun = func(context.Context) {
		if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
			t.Errorf("there is %v, %v", names, err)
		}
	}
	if got := h.do(t, form(part{"f", "x.png", "image/png", png})); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
	h = newHouse(func(o *Options) { o.SpoolDir = filepath.Join(dir, "none") })
	got := h.do(t, form(part{"f", "x.png", "image/png", png}))
	if got.status != 503 || !strings.Contains(got.body, "has no room for the file") || strings.Contains(got.body, dir) || !strings.Contains(h.log.String(), dir) {
		t.Errorf("%d %s, and the log has %s", got.status, got.body, h.log)
	}
	h.noneLeft(t)
}

// TestSpoolFull: a full disk.
func TestSpoolFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	x := &exchange{Handler: newHouse(nil).Handler}
	err = x.fill(&spooled{content: full}, strings.NewReader(png), 100)
	if f := fault.Of(err); f.Kind != fault.Unavailable || !strings.Contains(f.Error(), "no space left") {
		t.Errorf("%v", err)
	}
}

// TestAttachMemory: a file does not pass through memory as a whole.
func TestAttachMemory(t *testing.T) {
	const size = 16 << 20
	h := newHouse(func(o *Options) { o.MaxAttachment = size })
	h.uploader.look = func(io.ReaderAt) {}
	head := "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n"
	for name, request := range map[string]*http.Request{
		"a form": httptest.NewRequest("POST", "/msg/user", io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader("\r\n--b--\r\n"))),
		"raw":    httptest.NewRequest("POST", "/msg/user?attach=1", io.LimitReader(zeros{}, size)),
	} {
		request.Header.Set("Authorization", basic(me, password))
		request.Header.Set("Content-Type", map[string]string{"a form": "multipart/form-data; boundary=b", "raw": "application/octet-stream"}[name])
		w := httptest.NewRecorder()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		h.ServeHTTP(w, request)
		runtime.ReadMemStats(&after)
		if w.Code != 201 {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d bytes were taken for a file of %d", name, used, size)
		}
	}
}

// zeros are without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBerths: so many at once, of one sender fewer, and the others wait, for a while.
func TestBerths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBerths()
		enter := func(from message.JID) (leave func(), err error) { return b.enter(t.Context(), from) }
		var leaves []func()
		for i := range maxBerths {
			leave, err := enter(message.JID(fmt.Sprintf("user%d@example.com", i/ownBerths)))
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		began := time.Now()
		if _, err := enter(me); fault.Of(err).Kind != fault.Unavailable || time.Since(began) != berthWait {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		entered := make(chan func())
		go func() {
			leave, _ := enter(me)
			entered <- leave
		}()
		synctest.Wait()
		leaves[0]()
		leave := <-entered
		if leave == nil {
			t.Fatal("there is a berth, and who waits does not get it")
		}
		leave()
		for _, leave := range leaves[1:] {
			leave()
		}
		for range ownBerths {
			if _, err := enter(me); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := enter(me); fault.Of(err).Kind != fault.Unavailable {
			t.Fatalf("one sender has more than their share: %v", err)
		}
		if _, err := enter("you@example.com"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.enter(ctx, me); fault.Of(err).Kind != fault.Unconfirmed {
			t.Fatalf("who has gone waits: %v", err)
		}
	})
}

// TestSlowFile: a file may take longer than other requests, its sender being known, but
// not for ever; and what is no file may not.
func TestSlowFile(t *testing.T) {
	head := "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\nAuthorization: %s\r\n\r\n--b\r\nContent-Disposition: form-data; name=%s\r\n\r\n"
	for _, test := range []struct {
		name, auth, part string
		status           int
		after            time.Duration
	}{
		{"a file", basic(me, password), "f; filename=x", 408, arrivalTime},
		{"a field", basic(me, password), "body", 408, 30 * time.Second},
		{"nobody's file", basic(me, "wrong"), "f; filename=x", 401, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(nil)
				server := &http.Server{Handler: h, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute}
				listener := make(pipeListener)
				var serving sync.WaitGroup
				serving.Go(func() { _ = server.Serve(listener) })
				ours, theirs := net.Pipe()
				listener <- theirs
				began := time.Now()
				answered := make(chan answer)
				go func() { answered <- readAnswer(t, bufio.NewReader(ours)) }()
				_, _ = fmt.Fprintf(ours, head, test.auth, test.part)
				stop := make(chan struct{})
				go func() {
					for { // a byte a second
						select {
						case <-stop:
							return
						case <-time.After(time.Second):
							_, _ = ours.Write([]byte("x"))
						}
					}
				}()
				got := <-answered
				if took := time.Since(began); got.status != test.status || (took-test.after).Abs() > 5*time.Second {
					t.Errorf("%d %s after %v, want %d after %v", got.status, got.body, took, test.status, test.after)
				}
				close(stop)
				_ = ours.Close()
				close(listener)
				_ = server.Close()
				serving.Wait()
				time.Sleep(time.Second) // the bubble's time: net/http lingers
				h.noneLeft(t)
			})
		})
	}
}
