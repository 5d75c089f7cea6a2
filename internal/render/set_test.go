package render

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
)

// A shelf is a directory of own templates.
type shelf struct {
	*Set
	t testing.TB
}

func newShelf(t testing.TB) shelf {
	return shelf{New(t.TempDir()), t}
}

// put writes a template, or removes it, and reads all anew.
func (s shelf) put(name, text string) error {
	s.t.Helper()
	file := filepath.Join(s.dir, name+extension)
	err := os.WriteFile(file, []byte(text), 0o600)
	if text == "" {
		err = os.Remove(file)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.Load()
}

// gives is the body that a template makes of a payload, or its error.
func (s shelf) gives(name, payload string) string {
	s.t.Helper()
	value, err := ParseJSON(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := s.Render(name, Input{Payload: value})
	if err != nil {
		checkFault(s.t, err)
		return fault.Of(err).Public
	}
	return m.Body
}

// checkFault is true of every error of Render's.
func checkFault(t testing.TB, err error) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Public == "" || strings.Contains(f.Public, "\n") || len(f.Public) > 1000 {
		t.Errorf("an error that nobody can act on: %v", err)
	}
}

// TestMisfits: what a payload lacks is named, with the line of the template that needs it.
func TestMisfits(t *testing.T) {
	s := newShelf(t)
	for _, test := range []struct{ name, template, payload, want string }{
		{"a missing member", "first\n{{.title}}", `{"text":"x"}`, "the payload does not fit the template own, line 2: it has no title (.title)"},
		{"one in an object", "{{.a.b.c}}", `{"a":{"b":{}}}`, "the payload does not fit the template own, line 1: it has no c (.a.b.c)"},
		{"of a text", "{{.a.b}}", `{"a":"x"}`, "the payload does not fit the template own, line 1: it has no b (.a.b)"},
		{"of a member that is null", "{{.a.b}}", `{"a":null}`, "the payload does not fit the template own, line 1: it has no a (.a.b)"},
		{"of null", "{{.a}}", `null`, "the payload does not fit the template own, line 1: it has no a (.a)"},
		{"in a loop", "{{range .a}}{{.b}}{{end}}", `{"a":[{"b":1},{}]}`, "the payload does not fit the template own, line 1: it has no b (.b)"},
		{"of the whole payload", "{{with .a}}{{$.b}}{{end}}", `{"a":1}`, "the payload does not fit the template own, line 1: it has no b ($.b)"},
		{"an index", "{{index .a 3}}", `{"a":[1]}`, "the payload does not fit the template own, line 1: index out of range: 3"},
		{"a loop over a text", "{{range .a}}x{{end}}", `{"a":"x"}`, "the payload does not fit the template own, line 1: range can't iterate over x"},
		{"its own words", `{{if not (get . "a")}}{{fail "there is no a"}}{{end}}`, `{}`, "the payload does not fit the template own, line 1: there is no a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := s.put("own", test.template); err != nil {
				t.Fatal(err)
			}
			if got := s.gives("own", test.payload); got != test.want {
				t.Errorf("%s", got)
			}
		})
	}
}

// TestBounds: no template runs for long, fills the memory or says too much, whatever the
// payload is.
func TestBounds(t *testing.T) {
	const tooLong, tooMuch = "the template own takes too long", "the template own gives more than 64 KiB"
	const tooSlow, either = "the template own took too long", "the template own " // as the machine is fast
	many, err := ParseJSON(`{"a":[` + strings.Repeat(`0,`, 999) + `0],"big":"` + strings.Repeat("x ", 40_000) + `"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, template, want string }{
		{"an endless loop", "{{range 1000000000000}}{{end}}", tooLong},
		{"one that says something", "{{range 1000000000000}}x{{end}}", either},
		{"one that continues", "{{range 1000000000000}}{{continue}}x{{end}}", tooLong},
		{"loops in one another", "{{range .a}}{{range $.a}}{{end}}{{end}}", tooLong},
		{"blocks", `{{define "x"}}y{{end}}{{range .a}}{{range $.a}}{{template "x"}}{{end}}{{end}}`, tooLong},
		{"in another block", `{{define "subject"}}{{range 1000000000000}}{{end}}{{end}}x`, tooLong},
		{"a slow function in a loop", "{{range .a}}{{range $.a}}{{$x := markdown $.big}}{{end}}{{end}}", tooSlow},
		{"slow functions without a loop", strings.Repeat("{{$x := markdown .big}}", 7000), tooSlow},
		{"a gigabyte", "{{range .a}}{{$.big}}{{$.big}}{{end}}", tooMuch},
		{"a large member", "{{.big}}", tooMuch},
		{"doubling by print", `{{$x := "ab"}}{{range .a}}{{$x = print $x $x}}{{end}}{{len $x}}`, tooMuch},
		{"doubling by println", `{{$x := "ab"}}{{range .a}}{{$x = println $x $x}}{{end}}{{len $x}}`, tooMuch},
		{"doubling by printf", `{{$x := "ab"}}{{range .a}}{{$x = printf "%s%s" $x $x}}{{end}}{{len $x}}`, tooMuch},
		{"doubling by quoting", `{{$x := "ab\""}}{{range .a}}{{$x = printf "%q" $x}}{{end}}{{len $x}}`, tooMuch},
		{"doubling by replace", `{{$x := "ab"}}{{range .a}}{{$x = replace "a" "aa" $x}}{{end}}{{len $x}}`, tooMuch},
		{"doubling by json", `{{$x := "ab"}}{{range .a}}{{$x = json $x}}{{end}}{{len $x}}`, tooMuch},
		{"doubling by join", `{{$x := "ab"}}{{range .a}}{{$x = join $x $.a}}{{end}}{{len $x}}`, tooMuch},
		{"growing by html", `{{$x := "&&&&&&&&&&&&&&&&&&&&"}}{{range .a}}{{$x = html $x}}{{end}}{{len $x}}`, either},
		{"growing by urlquery", `{{$x := "&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&"}}{{range .a}}{{$x = urlquery $x}}{{end}}{{len $x}}`, either},
		{"doubling by js", `{{$x := "\\"}}{{range .a}}{{$x = js $x}}{{end}}{{len $x}}`, tooMuch},
		{"growing by quote", `{{$x := "\n\n\n"}}{{range .a}}{{range $.a}}{{$x = quote (print $x "\n.")}}{{end}}{{end}}{{len $x}}`, either},
		{"a list does not double", `{{$x := .a}}{{range .a}}{{$x = where $x "" "" "" ""}}{{end}}{{len $x}}`, "1000"},
		{"a width", `{{printf "%100000s" "x"}}`, "has a width that is"},
		{"a width from the payload", `{{printf "%*s" 100000 "x"}}`, "has a width that is"},
		{"a precision", `{{printf "%.1000000f" 1.5}}`, "has a width that is"},
		{"an index", `{{printf "%[1]s%[1]s" "x"}}`, "has a width that is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			own, err := parseTemplate("own", test.template)
			if err != nil {
				t.Fatal(err)
			}
			r := run{Input: Input{Payload: many}, ends: time.Now().Add(time.Minute)}
			if test.want == tooSlow {
				r.ends = time.Now().Add(100 * time.Millisecond)
			}
			m, err := r.execute(own)
			got := m.Body
			if err != nil {
				checkFault(t, err)
				got = fault.Of(err).Public
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("%s", cut(200, got))
			}
		})
	}
}

// TestBroken: a template that is broken is named with its line; it stays as it was, or is
// the built-in one, and the others work.
func TestBroken(t *testing.T) {
	s := newShelf(t)
	if err := s.put("good", "{{.x}}"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, file, text, want string }{
		{"its syntax", "own", "\n\n{{if}}", "own:3: missing value for if"},
		{"an unknown function", "own", "{{env \"HOME\"}}", `own:1: function "env" not defined`},
		{"an unknown block", "own", "\n{{template \"x\"}}", `own:2: there is no block "x"`},
		{"a block that calls itself", "own", "{{define \"x\"}}\n{{template \"x\"}}{{end}}", `own:2: the block "x" comes to call itself here, which is not allowed`},
		{"by another", "own", `{{define "x"}}{{if .}}{{template "y"}}{{end}}{{end}}{{define "y"}}{{with .}}{{else}}{{range .}}{{template "x"}}{{end}}{{end}}{{end}}`, "comes to call itself here"},
		{"the whole itself", "own", `{{template "own"}}`, "comes to call itself here"},
		{"its size", "own", strings.Repeat("x", maxFile+1), "is larger than 256 KiB"},
		{"its name", "Own", "x", "a template's name has to be"},
		{"the name auto", "auto", "x", "and not auto"},
		{"a built-in one", "alertmanager", "{{define \"sign\"}}{{.x.}}{{end}}", "alertmanager:1: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := s.put(test.file, test.text)
			if err == nil || !strings.Contains(err.Error(), test.file+".tmpl: ") || !strings.Contains(err.Error(), test.want) || strings.Contains(strings.TrimSpace(err.Error()), "\n") {
				t.Errorf("reading them says %v", err)
			}
			if got := s.gives("good", `{"x":"still works"}`); got != "still works" {
				t.Errorf("the other one gives %s", got)
			}
			if got := s.gives("json", `{"text":"still works"}`); got != "still works" {
				t.Errorf("the built-in one gives %s", got)
			}
			if err := s.put(test.file, ""); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestReload: of a template that is broken, what was there before stays in use.
func TestReload(t *testing.T) {
	s := newShelf(t)
	const payload = `{"x":"a","text":"built in"}`
	for _, step := range []struct{ name, text, want, broken string }{
		{"own", "{{if}}", "the template own is broken, and whoever runs this posthorn has to mend it: own:1: missing value for if", "own:1: missing value for if"},
		{"own", "one {{.x}}", "one a", ""},
		{"own", "two {{.x", "one a", "own:1: unclosed action"},
		{"own", "three {{.x}}", "three a", ""},
		{"own", "", `there is no template "own": there are auto and `, ""},
		{"json", "{{if}}", "built in", "json:1: missing value for if"},
		{"json", "mine {{.x}}", "mine a", ""},
		{"json", "{{if}}", "mine a", "json:1: missing value for if"},
		{"json", "", "built in", ""},
	} {
		if err := s.put(step.name, step.text); (err != nil) != (step.broken != "") {
			t.Errorf("%q: %v", step.text, err)
		}
		if got := s.gives(step.name, payload); !strings.HasPrefix(got, step.want) {
			t.Errorf("%q gives %s", step.text, got)
		}
		for _, info := range s.List() {
			if info.Name != step.name {
				continue
			}
			broken := ""
			if info.Broken != nil {
				broken = info.Broken.Error()
			}
			if broken != step.broken || info.Own != (step.text != "") {
				t.Errorf("%q is listed as %+v", step.text, info)
			}
		}
	}
}

// TestOverride: an own file takes the place of the blocks that it has.
func TestOverride(t *testing.T) {
	s := newShelf(t)
	for name, text := range map[string]string{
		"json":    `{{define "subject"}}a subject{{end}}`,
		"blocks":  `not this{{define "body"}}{{.x}}{{end}}{{define "type"}} headline {{end}}{{define "id"}}i{{end}}{{define "urls"}}` + "\nhttps://a\nhttps://b" + `{{end}}{{define "key"}}k{{end}}{{define "new"}} {{end}}`,
		"updates": `x{{define "update"}}u{{end}}{{define "key"}}k{{end}}{{define "new"}}1{{end}}`,
		"empty":   ``,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name+extension), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Message{
		"json":    {Body: "hi\nx: y", Subject: "a subject"},
		"blocks":  {Body: "y", Type: "headline", ID: "i", URL: "https://a", Key: "k"},
		"updates": {Body: "x", Key: "u", Update: true, Fresh: true},
		"empty":   {},
	} {
		got, err := s.Render(name, Input{Payload: map[string]any{"x": "y", "text": "hi"}})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// TestDirectory: one that is not there is an error, and the built-in ones work.
func TestDirectory(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "gone"))
	if err := s.Load(); err == nil {
		t.Error("a directory that is not there is no error")
	}
	if len(s.List()) == 0 {
		t.Error("the built-in templates are gone too")
	}
	dir := filepath.Join(t.TempDir(), "[a]*?")
	if err := os.MkdirAll(filepath.Join(dir, "sub.tmpl"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "own.tmpl"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = New(dir)
	if err := s.Load(); err == nil || !strings.Contains(err.Error(), "sub.tmpl") {
		t.Errorf("a directory for a template: %v", err)
	}
	if text, err := s.Text("own"); text != "x" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// TestNoAccess: nothing that a template can call leads out of the payload.
func TestNoAccess(t *testing.T) {
	for _, name := range []string{"env", "readFile", "include", "import", "getenv", "http", "exec", "os", "glob", "now"} {
		if _, err := parseTemplate("x", "{{"+name+` "x"}}`); err == nil {
			t.Errorf("%s can be called", name)
		}
	}
}
