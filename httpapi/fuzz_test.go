package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// checkDecoded is the property of every decoder: what it takes is valid UTF-8
// and either makes a message that can be sent or is refused in one line, as
// the client's mistake.
func checkDecoded(t *testing.T, f fields, err error) {
	t.Helper()
	if err != nil {
		checkClientFault(t, err)
		return
	}
	for _, field := range f.values {
		if !fieldNames[field.name] || !utf8.ValidString(field.value) {
			t.Fatalf("the field %q is %q", field.name, field.value)
		}
	}
	m, err := f.message()
	if err != nil {
		checkClientFault(t, err)
		return
	}
	if err := m.Validate(); err != nil {
		checkClientFault(t, fault.New(fault.Unsendable, "%v", err))
		return
	}
	if strings.Contains(m.Body, "\r") || strings.Contains(m.Subject, "\r") || message.CheckText(m.Body+m.Subject+m.HTML+m.OOB.URL+m.OOB.Desc) != nil {
		t.Fatalf("made %+v", m)
	}
	to, err := newQuietHandler().recipients(f.to, me, m.Type)
	if err != nil {
		checkClientFault(t, err)
		return
	}
	for _, j := range to {
		if again, err := message.ParseRecipient(string(j)); err != nil || again != j || j.Domain() == "post.example.com" {
			t.Fatalf("the recipient %q: %v", j, err)
		}
	}
}

func newQuietHandler() *Handler {
	return &Handler{options: Options{ComponentDomain: "post.example.com"}}
}

func checkClientFault(t *testing.T, err error) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || rowOf(f.Kind).status >= 500 {
		t.Fatalf("%v is no mistake of the client's", err)
	}
	if f.Public == "" || oneLine(f.Public) != f.Public || len(f.Public) > 1000 {
		t.Fatalf("the detail is %q", f.Public)
	}
}

func FuzzDecodeText(f *testing.F) {
	f.Add("", []byte("a\r\nb\x00\xff\ufeff"))
	f.Add("utf-16", []byte("\xfe\xff\x00h\xd8\x00"))
	f.Add("shift_jis", []byte("\x93\xfa\x81"))
	f.Add("gb18030", []byte("\x84\x31\xa4\x37"))
	f.Fuzz(func(t *testing.T, charset string, body []byte) {
		got, err := decodeBody("text/plain; charset="+charset, body)
		checkDecoded(t, got, err)
	})
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{"to":["a","b@c"],"body":"x","ttl":1e3,"oob":{"url":"u","desc":null}}`, `{"a":{"a":[{}]},"a":1}`, `{"body":"\ud800\u0000"}`,
		`{"thread":{"id":"t"},"type":"info","to":"a,b"} x`, `{"body":`, `[1]`, `{"html":"<p>&#1;"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := decodeBody("application/json", []byte(body))
		checkDecoded(t, got, err)
		// Nobody else's JSON is read, and nothing that is twice.
		if err == nil && !json.Valid([]byte(strings.TrimPrefix(body, "\ufeff"))) {
			t.Fatalf("%q is no JSON", body)
		}
		if strings.ContainsRune(fmt.Sprint(got), utf8.RuneError) && !strings.ContainsRune(body, utf8.RuneError) && !strings.Contains(strings.ToLower(body), `\ufffd`) {
			t.Fatalf("%q lost a character: %+v", body, got)
		}
	})
}

func FuzzDecodeForm(f *testing.F) {
	for _, seed := range []string{"body=95%&to=a&to=b", "disk 95% full", "a%20b", "%E4", "\ufeff {\"body\":\"x\"}", "body=%00&body=1", "+%%41%4", "message"} {
		f.Add("", seed)
	}
	f.Add("iso-8859-1", "body=%E4")
	f.Fuzz(func(t *testing.T, charset, body string) {
		got, err := decodeBody("application/x-www-form-urlencoded; charset="+charset, []byte(body))
		checkDecoded(t, got, err)
		// Text arrives whole: as it is, or with no escape left to undo.
		if raw := got.get("body"); err == nil && got.text && charset == "" && raw != strings.TrimPrefix(body, "\ufeff") {
			if whole, ok := unescapeWhole([]byte(strings.TrimPrefix(body, "\ufeff"))); !ok || strings.TrimPrefix(string(whole), "\ufeff") != raw {
				t.Fatalf("%q became %q", body, raw)
			}
		}
	})
}

func FuzzDecodeMultipart(f *testing.F) {
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"body\"\r\nContent-Type: text/plain; charset=latin1\r\n\r\n\xe4\r\n--b--"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=to\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n--b\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeBody("multipart/form-data; boundary=b", body)
		checkDecoded(t, got, err)
	})
}

// FuzzRequest: whatever the path, the type and the headers are, the answer is
// the client's to understand.
func FuzzRequest(f *testing.F) {
	f.Add("/msg/user%2C,a@b", "text/plain", "=?utf-8?Q?=00?=", "k", []byte("x"))
	f.Add("//msg//?to=%FF&subject=%", "multipart/form-data; boundary=", "", "", []byte("--"))
	f.Add("/hook/auto/user", "application/json", "", "", []byte(`{"text": "x", "attachments": [{}]}`))
	f.Add("/hook/slack/user/hooks/x", "application/x-www-form-urlencoded", "", "", []byte("payload=%7B%22text%22%3A%22x%22%7D"))
	f.Add("/hook/%zz", "multipart/form-data; boundary=b", "", "", []byte("--b\r\n"))
	f.Add("/rest/message/chat/%zz", "a/b; c", "\xff", "ä", []byte("{"))
	f.Add("/msg/user?attach=1&filename=%2F", "image/png", "", "k", []byte("x"))
	f.Add("/msg/user?attach=1", "", "", "", bytes.Repeat([]byte("\x1b[1m\xff\x00ä\r\n"), 20))
	f.Add("/msg/user", "multipart/form-data; boundary=b", "", "", []byte("--b\r\nContent-Disposition: form-data; name=f; filename=\"a\\b\"\r\nContent-Type: ;\r\n\r\n\x00\r\n--b\r\nContent-Disposition: form-data; name=html\r\n\r\n<p>&\r\n--b--"))
	house := newHouse(func(o *Options) { o.MaxBody, o.MaxAttachment = 100, 1000 })
	f.Fuzz(func(t *testing.T, path, typ, title, key string, body []byte) {
		house.log.Reset()
		house.deliverer.take()
		house.uploader.take()
		got, sendable := house.try(path, typ, title, key, body)
		if !sendable {
			return
		}
		checkAnswer(t, house, got)
		if got.status >= 500 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		checkFiles(t, house, got)
	})
}

// checkFiles: a file goes up for a message that is sent and can be written, and for no
// other, under a name that every service takes.
func checkFiles(t *testing.T, h *house, got answer) {
	t.Helper()
	up := h.uploader.take()
	for _, m := range h.deliverer.take() {
		if err := m.Validate(); err != nil || (m.OOB.URL == link) != (len(up) == 1) {
			t.Fatalf("%+v, with %d files: %v", m, len(up), err)
		}
	}
	if len(up) > 1 || len(up) == 1 && got.status != 201 {
		t.Fatalf("%d, and %d files went up", got.status, len(up))
	}
	for _, file := range up {
		if message.FileName(file.Name) != file.Name || file.Name == "" || !strings.Contains(file.Type, "/") || file.Size != int64(len(file.Content)) || file.Size == 0 || file.Size > 1000 {
			t.Fatalf("a file went up as %+v", file)
		}
	}
}
