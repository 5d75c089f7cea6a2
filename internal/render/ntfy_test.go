package render

import (
	"net/textproto"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNtfyActions(t *testing.T) {
	link := func(label, url string) any { return map[string]any{"label": label, "url": url} }
	for _, test := range []struct {
		name, in string
		want     []any
	}{
		{"short", "view, Open portal, https://example.com/a", []any{link("Open portal", "https://example.com/a")}},
		{"names, in any order", "url = https://example.com,label=x, action=View", []any{link("x", "https://example.com")}},
		{"more of it", "view, a, https://example.com, clear=true", []any{link("a", "https://example.com")}},
		{"quotes", `view, "a, \"b\"; c", 'https://example.com/?x=a,b'`, []any{link(`a, "b"; c`, "https://example.com/?x=a,b")}},
		{"several", "view, a, https://a.example; http, b, https://b.example; view, c, https://c.example;", []any{link("a", "https://a.example"), link("c", "https://c.example")}},
		{"JSON", `[{"action":"view","label":"a","url":"https://example.com"}]`, []any{link("a", "https://example.com")}},
		{"no address", "view, a", nil},
		{"a quote without end", `view, "a, https://example.com`, []any{link(`"a`, "https://example.com")}},
		{"nothing", "", nil},
		{"semicolons", ";;;", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ntfyActions(test.in)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNtfySaid: what is said in headers may be said in the URL, by each of their names.
func TestNtfySaid(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers map[string]string
		query   string
		payload any
		member  string
		want    any
	}{
		{"header", map[string]string{"Title": "a"}, "", "x", "title", "a"},
		{"short header", map[string]string{"t": "a"}, "", "x", "title", "a"},
		{"encoded header", map[string]string{"Title": "=?utf-8?b?4p2M?="}, "", "x", "title", "❌"},
		{"badly encoded header", map[string]string{"Title": "=?utf-8?x?4p2M?="}, "", "x", "title", "=?utf-8?x?4p2M?="},
		{"parameter", nil, "title=a", "x", "title", "a"},
		{"parameter as a header is called", nil, "x-title=a", "x", "title", "a"},
		{"header before parameter", map[string]string{"Title": "a"}, "title=b", "x", "title", "a"},
		{"JSON before header", map[string]string{"Title": "a"}, "", map[string]any{"topic": "t", "title": "b"}, "title", "b"},
		{"header beside JSON", map[string]string{"Priority": "max"}, "", map[string]any{"topic": "t"}, "priority", 5},
		{"a browser's priority", map[string]string{"Priority": "u=1, i"}, "", "x", "priority", 3},
		{"a number as priority", nil, "", map[string]any{"topic": "t", "priority": int64(2)}, "priority", 2},
		{"message in the URL", nil, `m=a%5Cnb`, "", "message", "a\nb"},
		{"message in the URL, and a body", nil, "m=a", "b", "message", "a\nb"},
		{"other JSON", nil, "", map[string]any{"a": int64(1)}, "message", `{"a":1}`},
		{"an array", nil, "", []any{"a"}, "message", `["a"]`},
		{"Markdown by parameter", nil, "md=1", "x", "markdown", true},
		{"Markdown by type", map[string]string{"Content-Type": "text/markdown; charset=utf-8"}, "", "x", "markdown", true},
		{"Markdown in JSON", nil, "", map[string]any{"topic": "t", "markdown": true}, "markdown", true},
		{"no Markdown", map[string]string{"Markdown": "no"}, "", "x", "markdown", false},
		{"emoji", nil, "tags=warning,+nosuch,,skull", "x", "emoji", []any{"⚠️", "💀"}},
		{"tags", nil, "tags=warning,+nosuch,,skull", "x", "tags", []any{"nosuch"}},
		{"tags in JSON", nil, "", map[string]any{"topic": "t", "tags": []any{"+1", "db", int64(1)}}, "tags", []any{"db", "1"}},
		{"delay", map[string]string{"At": "tomorrow, 10am"}, "", "x", "delay", "tomorrow, 10am"},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := make(textproto.MIMEHeader)
			for name, value := range test.headers {
				header.Set(name, value)
			}
			query, err := url.ParseQuery(test.query)
			if err != nil {
				t.Fatal(err)
			}
			r := run{Input: Input{Header: header.Get, Query: query.Get}}
			if diff := cmp.Diff(test.want, r.ntfy(test.payload)[test.member]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPlainSigns: without emoji, what they say is said in words.
func TestPlainSigns(t *testing.T) {
	set := loaded(t, "")
	for _, test := range []struct {
		template string
		payload  any
		want     string
	}{
		{"ntfy", map[string]any{"topic": "t", "message": "m", "priority": "5", "tags": "warning,x"}, "URGENT: m\nTags: warning, x"},
		{"gotify", map[string]any{"message": "m", "priority": int64(8)}, "HIGH: m"},
		{"slack", map[string]any{"attachments": []any{map[string]any{"title": "m :fire:", "color": "danger"}}}, "ALERT: m :fire:"},
	} {
		m, err := set.Render(test.template, Input{Payload: test.payload, Plain: true})
		if err != nil || m.Body != test.want {
			t.Errorf("%s gives %q, %v; want %q", test.template, m.Body, err, test.want)
		}
	}
}
