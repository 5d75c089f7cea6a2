package httpapi

import (
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/render"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// hookHouse is a house with templates more: echo says what the payload is, as JSON,
// and nothing for an empty list; whole has every block; broken is.
func hookHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"echo":   `{{if not (is (json .) "[]")}}{{json .}}{{end}}`,
		"broken": `{{`,
		"whole":  `{{.text}}{{define "subject"}}a subject{{end}}{{define "type"}}headline{{end}}{{define "id"}}i1{{end}}{{define "urls"}}https://example.com/a.png{{end}}{{define "key"}}k{{end}}{{define "new"}}yes{{end}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".tmpl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := render.New(dir)
	if err := set.Load(); err == nil {
		t.Fatal("nothing is broken")
	}
	return newHouse(func(o *Options) { o.Hooks = set })
}

// TestPayloads: the payload is found wherever tools put it.
func TestPayloads(t *testing.T) {
	const want = `{"a":1}`
	multipartForm := func(name, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n--b--\r\n"
	}
	const multipart = "multipart/form-data; boundary=b"
	h := hookHouse(t)
	for _, test := range []struct {
		name string
		call call
		want string // the body of the message; "": none is sent, and 204
	}{
		{"JSON", call{typ: asJSON, body: want}, want},
		{"JSON by PUT", call{method: "PUT", typ: asJSON, body: want}, want},
		{"JSON of another type", call{typ: "application/vnd.tool+json; charset=utf-8", body: want}, want},
		{"JSON without a type", call{typ: "-", body: want}, want},
		{"JSON as curl -d has it", call{typ: asForm, body: want}, want},
		{"JSON in UTF-16", call{typ: "application/json; charset=utf-16le", body: utf16le(want)}, want},
		{"an array", call{typ: asJSON, body: `[1, {"b": null}]`}, `[1,{}]`},
		{"a form's payload", call{typ: asForm, body: "payload=" + url.QueryEscape(want) + "&x=1"}, want},
		{"a form's data", call{typ: asForm, body: "data=" + url.QueryEscape(want)}, want},
		{"a form", call{typ: asForm, body: "title=A+b&message=c%C3%A4"}, `{"message":"cä","title":"A b"}`},
		{"text as curl -d has it", call{typ: asForm, body: "load = 5 on host"}, `"load = 5 on host"`},
		{"a part data", call{typ: multipart, body: multipartForm("data", want)}, want},
		{"a part payload", call{typ: multipart, body: multipartForm("payload", want)}, want},
		{"parts", call{typ: multipart, body: multipartForm("x", "y")}, `{"x":"y"}`},
		{"text", call{body: "hello\r\nyou"}, `"hello\r\nyou"`},
		{"text that begins as JSON", call{body: "{hello"}, `"{hello"`},
		{"GET", call{method: "GET", path: "/hook/echo/user?payload=" + url.QueryEscape(want)}, want},
		{"GET with text", call{method: "GET", path: "/hook/echo/user?payload=hello"}, `"hello"`},
		{"nobody's business", call{typ: asJSON, body: `[]`}, ""},
		{"larger than a message may be", call{typ: asJSON, body: strings.Repeat(" ", 100_000) + want}, want},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.call.path == "" {
				test.call.path = "/hook/echo/user"
			}
			got := h.do(t, test.call)
			messages := h.deliverer.take()
			if test.want == "" {
				if got.status != 204 || got.body != "" || len(messages) != 0 {
					t.Errorf("%d %s, %d messages", got.status, got.body, len(messages))
				}
				return
			}
			if got.status != 201 || len(messages) != 1 || messages[0].Body != test.want || messages[0].To != "user@example.com" {
				t.Errorf("%d %s %+v", got.status, got.body, messages)
			}
		})
	}
}

func utf16le(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		out.Write([]byte{c, 0})
	}
	return out.String()
}

// TestHookFields: the template gives the fields, and the query of the URL wins.
func TestHookFields(t *testing.T) {
	for _, test := range []struct {
		name, query string
		want        message.Message
	}{
		{"the template's", "", message.Message{Body: "*hi*", Subject: "a subject", Type: message.Headline, ID: "i1", OOB: message.OOB{URL: "https://example.com/a.png"}}},
		{"the query's", "?type=chat&subject=Mine&id=i2&oob=https://example.com/b&lang=de&thread=t&message=no&body=no&title=no", message.Message{Body: "*hi*", Subject: "Mine", Type: message.Chat, ID: "i2", OOB: message.OOB{URL: "https://example.com/b"}, Lang: "de", Thread: "t"}},
		{"with XHTML", "?xhtml=1", message.Message{Body: "*hi*", HTML: "<p><strong>hi</strong></p>", Subject: "a subject", Type: message.Headline, ID: "i1", OOB: message.OOB{URL: "https://example.com/a.png"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := hookHouse(t)
			got := h.do(t, call{path: "/hook/whole/user" + test.query, typ: asJSON, body: `{"text": "*hi*"}`})
			messages := h.deliverer.take()
			test.want.From, test.want.To = me, "user@example.com"
			if got.status != 201 || len(messages) != 1 || messages[0] != test.want {
				t.Errorf("%d %s\n%+v\n%+v", got.status, got.body, messages, test.want)
			}
		})
	}
}

// TestHookRefusals: what is no webhook of ours is refused, with a reason that helps.
func TestHookRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		call   call
		status int
		detail string // a part of it
	}{
		{"no such template", call{path: "/hook/nagios/user", typ: asJSON, body: `{}`}, 404, `there is no template \"nagios\": there are auto and alertmanager`},
		{"no template, no slash", call{path: "/hook", typ: asJSON, body: `{}`}, 404, "there is no template"},
		{"no template", call{path: "/hook/", typ: asJSON, body: `{}`}, 404, "there is no template"},
		{"no recipient", call{path: "/hook/echo", typ: asJSON, body: `{}`}, 422, "to: is missing"},
		{"no JSON", call{path: "/hook/echo/user", typ: asJSON, body: `{"a"`}, 400, "the payload is no JSON"},
		{"a misfit", call{path: "/hook/whole/user", typ: asJSON, body: `{}`}, 422, "the payload does not fit the template whole, line 1: it has no text (.text)"},
		{"compressed", call{path: "/hook/echo/user", body: "x", header: map[string]string{"Content-Encoding": "gzip"}}, 415, "compressed"},
		{"DELETE", call{method: "DELETE", path: "/hook/echo/user"}, 405, "GET, POST, PUT, OPTIONS"},
		{"nobody", call{path: "/hook/echo/user", body: "x", header: map[string]string{"Authorization": "-"}}, 401, "who is it?"},
		{"a page's POST", call{path: "/hook/echo/user", body: "x", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403, "another origin"},
		{"a page's GET", call{method: "GET", path: "/hook/echo/user?payload=x", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403, "another origin"},
		{"an update twice", call{path: "/hook/echo/user?emoji=0&emoji=1", body: "x"}, 400, "emoji: is given twice"},
		{"too large", call{path: "/hook/echo/user", body: strings.Repeat("x", maxPayload+1)}, 413, "larger than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := hookHouse(t)
			got := h.do(t, test.call)
			if got.status != test.status || !strings.Contains(got.body, test.detail) || len(h.deliverer.take()) > 0 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// TestHooksCounted: what templates make of payloads, and nothing where there is no
// template.
func TestHooksCounted(t *testing.T) {
	h := hookHouse(t)
	for _, path := range []string{"echo", "echo", "whole", "broken", "nowhere"} {
		h.do(t, call{path: "/hook/" + path + "/user", typ: asJSON, body: `{"a": 1}`})
	}
	h.do(t, call{path: "/hook/echo/user", typ: asJSON, body: `[]`})
	for outcome, want := range map[string]float64{"message": 2, "nothing": 1, "unfit": 1, "failed": 1} {
		if got := testutil.ToFloat64(h.metrics.hooks.WithLabelValues(outcome)); got != want {
			t.Errorf("%s: %v, want %v", outcome, got, want)
		}
	}
}

// TestForeignClients: clients of other services reach their hook with the path, the
// credentials and the answer that theirs has.
func TestForeignClients(t *testing.T) {
	h := newHouse(nil)
	text := h.made(t, me, token.Request{})
	none := map[string]string{"Authorization": "-"}
	with := func(name, value string) map[string]string {
		return map[string]string{"Authorization": "-", name: value}
	}
	for _, test := range []struct {
		name   string
		call   call
		answer string // a part of it
	}{
		{"Slack", call{path: "/hook/slack/user?token=" + text, typ: asJSON, body: `{"text": "hi"}`, header: none}, "ok"},
		{"Mattermost", call{path: "/hook/slack/user/hooks/" + text, typ: asJSON, body: `{"text": "hi"}`, header: none}, "ok"},
		{"Gotify", call{path: "/hook/gotify/user/message?token=" + text, typ: asJSON, body: `{"message": "hi"}`, header: none}, `"id":1`},
		{"Gotify's header", call{path: "/hook/gotify/user%40example.com/message", typ: asJSON, body: `{"message": "hi"}`, header: with("X-Gotify-Key", text)}, `"id":1`},
		{"ntfy", call{path: "/hook/ntfy/user", typ: asForm, body: "a=1&b", header: with("Authorization", basic("", text))}, `"topic":"user"`},
		{"ntfy, the token as the name", call{path: "/hook/ntfy/user", body: "hi", header: with("Authorization", basic(text, ""))}, `"event":"message"`},
		{"ntfy, a GET", call{method: "GET", path: "/hook/ntfy/user/publish?message=hi&title=t&auth=" + strings.TrimRight(url64(basic(me, password)), "="), header: none}, `"event":"message"`},
		{"ntfy's JSON", call{path: "/hook/ntfy", typ: asJSON, body: `{"topic": "user", "message": "hi"}`, header: with("Authorization", "Bearer "+text)}, `"topic":"user"`},
		{"ntfy's JSON without a path", call{path: "/", typ: asJSON, body: `{"topic": "user", "message": "hi"}`, header: with("Authorization", "Bearer "+text)}, `"topic":"user"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := h.do(t, test.call)
			messages := h.deliverer.take()
			if got.status != 200 || !strings.Contains(got.body, test.answer) || len(messages) != 1 || messages[0].To != "user@example.com" {
				t.Errorf("%d %q %+v", got.status, got.body, messages)
			}
			if strings.Contains(h.log.String(), text) || strings.Contains(got.body, text) {
				t.Error("the token is shown")
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		h.deliverer.outcomes = map[message.JID]any{"user@example.com": fault.New(fault.Undeliverable, "gone")}
		if got := h.do(t, call{path: "/hook/slack/user", typ: asJSON, body: `{"text": "hi"}`}); got.status != 404 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

func url64(s string) string {
	return base64.URLEncoding.EncodeToString([]byte(s))
}

// TestTemplatesOfTokens: a token for some templates is good for those, also where they
// are recognized.
func TestTemplatesOfTokens(t *testing.T) {
	h := hookHouse(t)
	text := h.made(t, me, token.Request{Templates: []string{"json", "echo"}})
	for path, status := range map[string]int{
		"/hook/json/user": 201, "/hook/echo/user": 201, "/hook/auto/user": 201, "/hook/whole/user": 403, "/msg/user": 403,
	} {
		got := h.do(t, call{path: path, typ: asJSON, body: `{"text": "hi"}`, header: map[string]string{"Authorization": "Bearer " + text}})
		if got.status != status {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// TestSignedWebhook: the signature is of the body as it came.
func TestSignedWebhook(t *testing.T) {
	const key = "a secret"
	h := hookHouse(t)
	text := h.made(t, me, token.Request{Signing: secret.New(key)})
	body := `{"text": "hi"}`
	for signature, status := range map[string]int{"sha256=" + macOf(key, []byte(body)): 201, "sha256=" + macOf("another", []byte(body)): 403} {
		got := h.do(t, call{path: "/hook/echo/user?token=" + text, typ: asJSON, body: body, header: map[string]string{"Authorization": "-", "X-Hub-Signature-256": signature}})
		if got.status != status {
			t.Errorf("%s: %d %s", signature, got.status, got.body)
		}
	}
}
