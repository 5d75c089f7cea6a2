package render

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the templates give now")

// A sample is a request as a tool sends it.
type sample struct {
	Headers map[string]string `json:"headers"`
	Query   map[string]string `json:"query"`
	Payload json.RawMessage   `json:"payload"`
	Body    string            `json:"body"` // of a request that is no JSON
}

func readSample(t *testing.T, file string) Input {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s sample
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	headers := make(textproto.MIMEHeader)
	for name, value := range s.Headers {
		headers.Set(name, value)
	}
	in := Input{Payload: s.Body, Header: headers.Get, Query: func(name string) string { return s.Query[name] }, Plain: s.Query["emoji"] == "0"}
	if len(s.Payload) == 0 && strings.Contains(headers.Get("Content-Type"), "form-urlencoded") {
		values, err := url.ParseQuery(s.Body)
		if err != nil {
			t.Fatal(err)
		}
		s.Payload = formPayload(values)
	}
	if len(s.Payload) > 0 {
		if in.Payload, err = ParseJSON(string(s.Payload)); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// formPayload is the JSON in a form's field payload, or the form's fields.
func formPayload(values url.Values) json.RawMessage {
	if payload := values.Get("payload"); payload != "" {
		return json.RawMessage(payload)
	}
	fields := make(map[string]string)
	for name := range values {
		fields[name] = values.Get(name)
	}
	text, _ := json.Marshal(fields)
	return text
}

func loaded(t testing.TB, dir string) *Set {
	t.Helper()
	s := New(dir)
	s.patience = time.Minute // other tests may keep the machine busy
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	return s
}

// shown writes a message as the golden files have it: its fields, and behind an empty
// line the body as it is received.
func shown(m Message, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	if m.Body == "" {
		return "nothing\n"
	}
	var out strings.Builder
	for _, field := range []struct{ name, value string }{{"subject", m.Subject}, {"type", m.Type}, {"id", m.ID}, {"url", m.URL}, {"key", m.Key}} {
		if field.value != "" {
			fmt.Fprintf(&out, "%s: %s\n", field.name, field.value)
		}
	}
	if m.Key != "" && m.Fresh {
		fmt.Fprintln(&out, "new: yes")
	}
	return out.String() + "\n" + m.Body + "\n"
}

// TestGolden renders what tools send, by the template of the sample's folder, and finds
// the same template by itself.
func TestGolden(t *testing.T) {
	set := loaded(t, "")
	files, err := filepath.Glob("testdata/payloads/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no samples:", err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		sampleName := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name+"/"+sampleName, func(t *testing.T) {
			in := readSample(t, file)
			got := shown(set.Render(name, in))
			compare(t, filepath.Join("testdata/golden", name, sampleName+".txt"), got)
		})
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
