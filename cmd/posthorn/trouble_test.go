package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/fault"
)

// rowsAfter gives the words in backticks at the beginning of a table's rows, which stands
// after a heading or a comment of a page.
func rowsAfter(t *testing.T, page, mark string) (words []string) {
	t.Helper()
	_, rest, found := strings.Cut(readPage(t, page), mark)
	if !found {
		t.Fatalf("%s has no %q", page, mark)
	}
	_, rest, _ = strings.Cut(rest, "\n|---")
	for line := range strings.Lines(rest) {
		if first, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " | "); isRow && line[0] == '|' {
			for _, word := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
				words = append(words, word[1])
			}
		} else if line[0] != '-' && line[0] != '|' {
			break
		}
	}
	slices.Sort(words)
	return words
}

// TestTroubleshooting: each step of check, each kind of failure and each reason why
// passwords cannot be checked is explained, and nothing else.
func TestTroubleshooting(t *testing.T) {
	const page = "docs/troubleshooting.md"
	var kinds []string
	for _, kind := range fault.Kinds() {
		kinds = append(kinds, kind.String())
	}
	slices.Sort(kinds)
	for mark, want := range map[string][]string{"<!-- steps:": checkSteps(t), "<!-- codes:": kinds, "## Why passwords": probeOutcomes(t)} {
		if diff := cmp.Diff(want, rowsAfter(t, page, mark)); diff != "" {
			t.Errorf("%s after %s differs from the code:\n%s", page, mark, diff)
		}
	}
}

// checkSteps reads the names of the steps where they are given, without what each is of.
func checkSteps(t *testing.T) (steps []string) {
	t.Helper()
	files, err := filepath.Glob("check*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:r\.(?:ok|warn|fail)\(|step := )"([a-z ]+)"`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			steps = append(steps, strings.TrimSpace(m[1]))
		}
	}
	slices.Sort(steps)
	return slices.Compact(steps)
}

// probeOutcomes are the labels of the metric that counts them.
func probeOutcomes(t *testing.T) (all []string) {
	t.Helper()
	families, err := exported(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "posthorn_auth_probes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			all = append(all, m.GetLabel()[0].GetValue())
		}
	}
	slices.Sort(all)
	return all
}
