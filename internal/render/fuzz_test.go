package render

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// maxRendered is what a built-in template may say of any payload, in bytes: a message,
// and no document.
const maxRendered = 20 << 10

// FuzzTemplates: of any JSON every built-in template makes a message that can be sent and
// is no book, or says what is wrong with it.
func FuzzTemplates(f *testing.F) {
	files, err := filepath.Glob("testdata/payloads/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("there are no samples:", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var s sample
		if err := json.Unmarshal(text, &s); err != nil {
			f.Fatal(err)
		}
		f.Add(string(s.Payload), eventOf(s.Headers), false)
	}
	for _, payload := range []string{`null`, `[]`, `{}`, `"x"`, `1e999`, `{"alerts":[]}`, `{"alerts":{}}`, `{"alerts":[1,"x",null]}`, `{"alerts":[{"status":"firing","labels":[]}],"truncatedAlerts":-1}`} {
		f.Add(payload, "push", true)
	}
	set := loaded(f, "")
	f.Fuzz(func(t *testing.T, payload, event string, plain bool) {
		in := Input{Payload: payload, Plain: plain, Header: func(string) string { return event }}
		if value, err := ParseJSON(payload); err == nil {
			in.Payload = value
		}
		names := []string{Recognize(in)}
		for _, info := range set.List() {
			names = append(names, info.Name)
		}
		for _, name := range names {
			m, err := set.Render(name, in)
			if err != nil {
				checkMisfit(t, name, err)
				continue
			}
			checkMessage(t, name, m)
		}
	})
}

// eventOf is what a forge says in a header of its own.
func eventOf(headers map[string]string) string {
	for name, value := range headers {
		if strings.HasSuffix(strings.ToLower(name), "-event") {
			return value
		}
	}
	return ""
}

func checkMisfit(t *testing.T, name string, err error) {
	t.Helper()
	checkFault(t, err)
	kinds := []fault.Kind{fault.Unsendable}
	if name != Auto && err != nil && strings.HasPrefix(fault.Of(err).Public, "there is no template") {
		kinds = append(kinds, fault.NoSuchPage) // recognized before its template is there
	}
	if !slices.Contains(kinds, fault.Of(err).Kind) {
		t.Errorf("%s: %v", name, err)
	}
}

// checkMessage is true of everything that is rendered.
func checkMessage(t *testing.T, name string, m Message) {
	t.Helper()
	if len(m.Body) > maxRendered {
		t.Errorf("%s says %d bytes: %s…", name, len(m.Body), head(100, m.Body))
	}
	if strings.TrimLeft(m.Body, "\n") != strings.TrimRight(m.Body, " \t\n") || strings.Contains(m.Body, "\n\n\n") {
		t.Errorf("%s: there are blanks around %q", name, m.Body)
	}
	for field, value := range map[string]string{"body": m.Body, "subject": m.Subject, "type": m.Type, "id": m.ID, "url": m.URL, "key": m.Key} {
		if err := message.CheckText(value); err != nil {
			t.Errorf("%s: the %s %v: %q", name, field, err, value)
		}
		if field != "body" && strings.ContainsAny(value, "\r\n\t") {
			t.Errorf("%s: the %s is not one line: %q", name, field, value)
		}
	}
}

// FuzzOwnTemplate: whatever an own template is, it is refused, or comes to its end and
// says no more than it may.
func FuzzOwnTemplate(f *testing.F) {
	for _, text := range builtIns() {
		f.Add(text, `{"alerts":[{"status":"firing","labels":{"alertname":"x"}}]}`)
	}
	for _, text := range []string{"{{range 99999999}}x{{end}}", `{{define "a"}}{{template "b" .}}{{end}}{{define "b"}}{{.x}}{{end}}{{template "a" .}}`, `{{printf "%99d" 1}}`, `{{$x := .x}}{{range .a}}{{$x = print $x $x}}{{end}}{{$x}}`} {
		f.Add(text, `{"x":"y","a":[1,2,3]}`)
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		parsed, err := parseTemplate("own", text)
		if err != nil {
			return
		}
		value, err := ParseJSON(payload)
		if err != nil {
			value = payload
		}
		r := run{Input: Input{Payload: value}, ends: time.Now().Add(maxTime)}
		m, err := r.execute(parsed)
		switch {
		case errors.Is(err, errTooSlow):
			return
		case err != nil:
			checkMisfit(t, "own", err)
			return
		}
		for _, field := range []string{m.Body, m.Subject, m.Type, m.ID, m.URL, m.Key} {
			if err := message.CheckText(field); err != nil || len(field) > 3*maxOutput { // U+FFFD is three bytes
				t.Errorf("%v, %d bytes", err, len(field))
			}
		}
	})
}
