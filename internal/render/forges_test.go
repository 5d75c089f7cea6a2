package render

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// forgeSamples are the samples of the forges, by their files.
func forgeSamples(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, forge := range []string{"github", "gitea", "forgejo", "gitlab"} {
		files, err := filepath.Glob("testdata/payloads/" + forge + "/*.json")
		if err != nil || len(files) == 0 {
			t.Fatal("there are no samples:", err)
		}
		all = append(all, files...)
	}
	return all
}

func forgeOf(file string) string { return filepath.Base(filepath.Dir(file)) }

// TestForgesRecognized: by their headers, and else by the shape of the payload, of which
// GitHub, Gitea and Forgejo have nearly the same.
func TestForgesRecognized(t *testing.T) {
	alike := []string{"github", "gitea", "forgejo"}
	for _, file := range forgeSamples(t) {
		in := readSample(t, file)
		if got := Recognize(in); got != forgeOf(file) {
			t.Errorf("%s: %s", file, got)
		}
		in.Header = nil
		if got := Recognize(in); got != forgeOf(file) && !(slices.Contains(alike, got) && slices.Contains(alike, forgeOf(file))) {
			t.Errorf("%s without headers: %s", file, got)
		}
	}
}

// TestForgesWithoutHeaders: the payload alone tells what has happened, but for events
// that have nothing of their own in it.
func TestForgesWithoutHeaders(t *testing.T) {
	set := loaded(t, "")
	for _, file := range forgeSamples(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if slices.Contains([]string{
			"branch-protection-rule-created", "label-created", "repository-archived", "repository-created", "repository-deleted", "star-deleted", "unknown-event",
		}, name) {
			continue
		}
		in := readSample(t, file)
		want := shown(set.Render(forgeOf(file), in))
		in.Header = nil
		if got := shown(set.Render(forgeOf(file), in)); got != want {
			t.Errorf("%s:\n%s\nwithout headers:\n%s", file, want, got)
		}
	}
}

// TestForgesOddPayloads: whatever stands in the place of one value in a sample, there is
// a short message or none, or the field is named that a webhook of this kind has to have.
func TestForgesOddPayloads(t *testing.T) {
	set := loaded(t, "")
	odd := []any{
		nil, "", int64(0), decimal(1.5), true, []any{}, map[string]any{}, "*a*\n> `b`\u202e\x07 🔥\xff",
		strings.Repeat("ä\n", 25_000), []any{"a", []any{}, map[string]any{"id": int64(1)}}, "0000000000000000000000000000000000000000",
	}
	tried := make(map[string]int) // by the names of members: all values everywhere would take minutes
	for _, file := range forgeSamples(t) {
		in := readSample(t, file)
		text, _ := set.Text(forgeOf(file))
		for _, place := range places(in.Payload, nil) {
			name := fmt.Sprint(place[max(0, len(place)-2):])
			turn := tried[name]
			if last, is := place[len(place)-1].(string); is && !strings.Contains(text, last) || turn == len(odd) {
				continue
			}
			tried[name]++
			changed := in
			changed.Payload = with(in.Payload, place, odd[turn%len(odd)])
			m, err := set.Render(forgeOf(file), changed)
			if reason := oddity(m, err); reason != "" {
				t.Errorf("%s with %v being odd value %d: %s", file, place, turn%len(odd), reason)
			}
		}
	}
}

// oddity says what is wrong with a message, or an error.
func oddity(m Message, err error) string {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		if f.Kind != fault.Unsendable || !strings.Contains(f.Public, ": it has no ") {
			return f.Public
		}
	case err != nil:
		return err.Error()
	case len(m.Body) > 4<<10:
		return fmt.Sprintf("%d bytes", len(m.Body))
	case message.CheckText(m.Body) != nil || strings.Contains(m.Key, "\n"):
		return "a text that cannot be sent"
	case strings.Contains(m.Body, "map["), strings.Contains(m.Body, "<nil>"), strings.Contains(m.Body, "%!"):
		return m.Body
	}
	return ""
}

// places are the paths of all members and items in a value, at most the first two of an
// array.
func places(value any, path []any) (all [][]any) {
	add := func(step, below any) {
		place := append(slices.Clone(path), step)
		all = append(append(all, place), places(below, place)...)
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			add(name, value[name])
		}
	case []any:
		for i := range min(2, len(value)) {
			add(i, value[i])
		}
	}
	return all
}

// with gives a copy of value, with another one at path; nil there is as if it were not.
func with(value any, path []any, other any) any {
	if len(path) == 0 {
		return other
	}
	switch value := value.(type) {
	case map[string]any:
		changed := maps.Clone(value)
		if changed[path[0].(string)] = with(value[path[0].(string)], path[1:], other); changed[path[0].(string)] == nil {
			delete(changed, path[0].(string))
		}
		return changed
	case []any:
		changed := slices.Clone(value)
		changed[path[0].(int)] = with(value[path[0].(int)], path[1:], other)
		return changed
	}
	return value
}

// TestLargePush: of 2000 commits five are told, and the number of the others.
func TestLargePush(t *testing.T) {
	set := loaded(t, "")
	var commits []any
	for i := range 2000 {
		commits = append(commits, map[string]any{"id": fmt.Sprintf("%040d", i), "message": fmt.Sprintf("step %d", i), "author": map[string]any{"name": "Ben"}})
	}
	for name, total := range map[string]string{"github": "", "gitea": "total_commits", "gitlab": "total_commits_count"} {
		in := readSample(t, "testdata/payloads/"+name+"/push-one-commit.json")
		in.Payload = with(in.Payload, []any{"commits"}, commits)
		if total != "" {
			in.Payload = with(in.Payload, []any{total}, int64(2000))
		}
		m, err := set.Render(name, in)
		if err != nil || !strings.Contains(m.Body, "pushed 2000 commits\n0000000 step 0 (Ben)\n") || !strings.Contains(m.Body, "step 4 (Ben)\n… and 1995 more\nhttps://") {
			t.Errorf("%s: %v %s", name, err, m.Body)
		}
	}
}

// TestForgesMisfits: the payload of another tool is none of a forge, and the answer says
// by what.
func TestForgesMisfits(t *testing.T) {
	set := loaded(t, "")
	alert := readSample(t, "testdata/payloads/alertmanager/firing.json")
	for name, want := range map[string]string{
		"github": "it has no repository", "gitea": "it has no repository", "forgejo": "it has no repository",
		"gitlab": "it has no object_kind",
	} {
		for _, payload := range []any{alert.Payload, map[string]any{}, []any{}, "text"} {
			_, err := set.Render(name, Input{Payload: payload})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
