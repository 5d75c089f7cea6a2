package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArchitecture: docs/architecture.md has each package, with the first sentence of its
// comment and what it imports of ours. With -update the table is written.
func TestArchitecture(t *testing.T) {
	const page, head = "docs/architecture.md", "| package | what it does | imports |\n|---|---|---|\n"
	text := readPage(t, page)
	before, rest, found := strings.Cut(text, head)
	rows, after, closed := strings.Cut(rest, "\n\n")
	if !found || !closed {
		t.Fatalf("%s has no table of packages", page)
	}
	want := strings.Join(packageRows(t), "\n")
	if *update {
		if err := os.WriteFile(filepath.Join("../..", page), []byte(before+head+want+"\n\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", page, diff)
	}
}

// packageRows are those of the table.
func packageRows(t *testing.T) (rows []string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{if .GoFiles}}{{.ImportPath}}\t{{.Doc}}\t{{range .Imports}}{{.}} {{end}}{{end}}", "posthorn/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) == "" { // tests alone
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		name := strings.TrimPrefix(columns[0], "posthorn/")
		_, does, found := strings.Cut(columns[1], " "+filepath.Base(name)+" ")
		if !found {
			t.Errorf("the comment of %s does not begin with its name: %s", name, columns[1])
		}
		var imports []string
		for path := range strings.FieldsSeq(columns[2]) {
			if ours, found := strings.CutPrefix(path, "posthorn/"); found {
				imports = append(imports, ours)
			}
		}
		if imports == nil {
			imports = []string{"nothing"}
		}
		rows = append(rows, fmt.Sprintf("| [%s](../%s) | %s | %s |", name, name, does, strings.Join(imports, ", ")))
	}
	return rows
}

var (
	goTest     = regexp.MustCompile(`^go test .*`)
	makeTarget = regexp.MustCompile(`^make (\w+)`)
	inCode     = regexp.MustCompile("`((?:httpapi|component|auth|internal|cmd|deploy)/[\\w./-]*\\w)`")
)

// TestContributing: the tests, targets and files that docs/contributing.md names are
// there. To run them here would run the tests by a test.
func TestContributing(t *testing.T) {
	const page = "docs/contributing.md"
	makefile := readPage(t, "Makefile")
	for _, b := range blocks(t, page) {
		if !b.isCommand() {
			continue
		}
		for line := range strings.Lines(b.text) {
			switch target := makeTarget.FindStringSubmatch(line); {
			case target != nil:
				if !strings.Contains(makefile, "\n"+target[1]+":") {
					t.Errorf("the Makefile has no %s", target[1])
				}
			case goTest.MatchString(line):
				tryGoTest(t, strings.Fields(line))
			default:
				t.Errorf("nothing is known of %s", line)
			}
		}
	}
	for _, m := range inCode.FindAllStringSubmatch(readPage(t, page), -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil && !strings.Contains(m[1], "NAME") {
			t.Error(err)
		}
	}
}

// tryGoTest: the package is there, and has the test.
func tryGoTest(t *testing.T, words []string) {
	t.Helper()
	var dir, name string
	for i, word := range words {
		if strings.HasPrefix(word, "./") {
			dir = filepath.Join("../..", word)
		}
		if word == "-run" {
			name = words[i+1]
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	has := slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && (name == "" || strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)"))
	})
	if dir == "" || !has {
		t.Errorf("%s: no such test", strings.Join(words, " "))
	}
}
