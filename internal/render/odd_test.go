package render

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// oddValues are such as tools send in a place where mostly something else stands.
var oddValues = map[string]any{
	"missing":        nil,
	"an empty text":  "",
	"a number":       int64(7),
	"true":           true,
	"a long text":    strings.Repeat("long *text* <b> ", 500),
	"a text of many": strings.Repeat("line\n", 1000),
	"odd characters": "\x00\x1b[2J\u202e\ufffe\U0001F525\xff\r\n\t*_~`>[x](y)<!--",
	"an empty array": []any{},
	"an array":       []any{int64(1), "x", map[string]any{"a": []any{}}},
	"an object":      map[string]any{"a": "b", "id": int64(1)},
}

// required are the members without which a payload is not its tool's. What else is odd,
// a template has to bear, if it does not refuse it in words of its own.
var required = map[string][]string{
	"alertmanager": {"alerts", "alerts.#", "alerts.#.status"},
	"forgejo":      {"ref", "before", "after", "run", "run.repository", "run.repository.full_name"},
	"gitea":        {"ref", "before", "after"},
	"github":       {"ref", "before", "after"},
	"gitlab":       {"ref", "before", "after", "object_kind", "object_attributes", "object_attributes.status", "status"},
	"grafana":      {"alerts", "alerts.#", "alerts.#.status", "ruleName", "state"},
	"healthchecks": {"status", "check", "check.status"},
	"gotify":       {},
	"json":         {},
	"ntfy":         {},
	"slack":        {},
	"uptime-kuma":  {"msg", "heartbeat", "heartbeat.status", "Title", "Body"},
}

// TestOddPayloads puts odd values in the place of each member that a tool's samples have
// and its template names, one at a time. What was tried is not tried again in a member of
// that name, in an object of that name, by the same template.
func TestOddPayloads(t *testing.T) {
	set := loaded(t, "")
	done := make(map[[3]string]bool)
	for name, needed := range required {
		t.Run(name, func(t *testing.T) {
			template, _ := set.Text(name)
			for _, file := range glob(t, "testdata/payloads/"+name+"/*.json") {
				in := readSample(t, file)
				for _, path := range pathsOf(in.Payload) {
					place := placeOf(path)
					for what, odd := range oddValues {
						member := [3]string{template, placeOf(path[max(0, len(path)-2):]), what}
						if done[member] || !namesMember(template, path) {
							continue
						}
						done[member] = true
						in := in
						in.Payload = replaced(in.Payload, path, odd)
						m, err := set.Render(name, in)
						checkMessage(t, name, m)
						if err != nil {
							checkMisfit(t, name, err)
						}
						if err != nil && !slices.Contains(needed, place) && !strings.Contains(err.Error(), "calling fail") {
							t.Errorf("%s for %s, in %s: %v", what, place, filepath.Base(file), err)
						}
					}
				}
			}
		})
	}
}

// namesMember reports whether a template reads what is at that path.
func namesMember(template string, path []string) bool {
	member := path[len(path)-1]
	return strings.Trim(member, "0123456789") == "" || strings.Contains(template, `"`+member+`"`) || strings.Contains(template, "."+member)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal(pattern, err)
	}
	return files
}

// pathsOf gives the path to each value below this one.
func pathsOf(value any) (paths [][]string) {
	below := func(step string, value any) {
		paths = append(paths, []string{step})
		for _, path := range pathsOf(value) {
			paths = append(paths, append([]string{step}, path...))
		}
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			below(name, value[name])
		}
	case []any:
		for i, item := range value {
			below(strconv.Itoa(i), item)
		}
	}
	return paths
}

// placeOf writes a path for which item of an array does not matter.
func placeOf(path []string) string {
	place := make([]string, len(path))
	for i, step := range path {
		if place[i] = step; strings.Trim(step, "0123456789") == "" {
			place[i] = "#"
		}
	}
	return strings.Join(place, ".")
}

// replaced gives a copy with another value at that path; nil: with none.
func replaced(value any, path []string, other any) any {
	if len(path) == 0 {
		return other
	}
	switch value := value.(type) {
	case map[string]any:
		value = maps.Clone(value)
		if value[path[0]] = replaced(value[path[0]], path[1:], other); value[path[0]] == nil {
			delete(value, path[0])
		}
		return value
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil {
			panic(fmt.Sprint("a path that is none: ", path))
		}
		value = slices.Clone(value)
		if value[i] = replaced(value[i], path[1:], other); value[i] == nil {
			return slices.Delete(value, i, i+1)
		}
		return value
	}
	return other
}
