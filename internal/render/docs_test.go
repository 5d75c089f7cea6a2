package render

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hooksPage is docs/hooks.md.
func hooksPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// table gives the lines of the table of that heading.
func table(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, heading+"\n|---|---|\n")
	if !found {
		t.Fatalf("there is no table %s", heading)
	}
	rows, _, _ := strings.Cut(rest, "\n\n")
	return rows
}

// TestDocumented: docs/hooks.md has all functions, blocks, templates and limits, and no
// others. With -update the functions and blocks are written.
func TestDocumented(t *testing.T) {
	page := hooksPage(t)
	var functions, blocks []string
	for _, f := range Functions {
		functions = append(functions, fmt.Sprintf("| `%s` | %s |", f.Use, f.Gives))
	}
	for _, b := range Blocks {
		blocks = append(blocks, fmt.Sprintf("| `%s` | %s |", b.Name, b.Gives))
	}
	for heading, want := range map[string][]string{"| function | gives |": functions, "| block | gives |": blocks} {
		got := table(t, page, heading)
		page = strings.Replace(page, got, strings.Join(want, "\n"), 1)
		if diff := cmp.Diff(strings.Join(want, "\n"), got); diff != "" && !*update {
			t.Errorf("%s (-want +got; -update writes it):\n%s", heading, diff)
		}
	}
	if *update {
		if err := os.WriteFile("../../docs/hooks.md", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for _, info := range loaded(t, "").List() {
		want = append(want, info.Name)
	}
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]*)` \\|").FindAllStringSubmatch(table(t, page, "| template | for |"), -1) {
		got = append(got, row[1])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the templates (-want +got):\n%s", diff)
	}
	for _, limit := range []string{
		fmt.Sprintf("%d,%03d actions", maxSteps/1000, maxSteps%1000), fmt.Sprintf("and %.0f s", maxTime.Seconds()),
		fmt.Sprintf("gives | %d KiB", maxOutput>>10), fmt.Sprintf("file | %d KiB", maxFile>>10),
	} {
		if !strings.Contains(page, limit) {
			t.Errorf("there is no limit of %s", limit)
		}
	}
}

// TestFunctions: each that is documented is there, and the example of its use parses.
func TestFunctions(t *testing.T) {
	have := functions(new(run))
	for _, f := range Functions {
		if have[f.Name] == nil || !strings.HasPrefix(f.Use, f.Name+" ") {
			t.Errorf("%s: no function, or another's use: %s", f.Name, f.Use)
		}
		if _, err := parseTemplate("x", "{{"+f.Use+"}}"); err != nil {
			t.Error(err)
		}
	}
	documented := len(Functions) + len([]string{"tick", "print", "println", "printf", "html", "js", "urlquery"})
	if len(have) != documented {
		t.Errorf("there are %d functions, and %d documented", len(have), documented)
	}
}

// TestOwnTemplates: the templates on the page are read, and make what it says.
func TestOwnTemplates(t *testing.T) {
	page, dir := hooksPage(t), t.TempDir()
	for _, own := range regexp.MustCompile("(?ms)^<!-- template: (\\S+) -->\n```\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		if err := os.WriteFile(filepath.Join(dir, own[1]+extension), []byte(own[2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := loaded(t, dir)
	example := regexp.MustCompile("(?ms)^<!-- payload -->\n```json\n(.*?)^```$.*?^<!-- gives -->\n````\n(.*?)^````$").FindStringSubmatch(page)
	if example == nil {
		t.Fatal("the example is gone")
	}
	payload, err := ParseJSON(example[1])
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Render("backup", Input{Payload: payload})
	if err != nil || m.Body+"\n" != example[2] || m.Key != "backup of db-1" || !m.Fresh {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = set.Render("alertmanager", readSample(t, "testdata/payloads/alertmanager/firing.json"))
	if err != nil || !strings.HasPrefix(m.Body, "🚨 *InstanceDown* (critical): web-1 is down\n") {
		t.Errorf("%+v, %v", m, err)
	}
}
