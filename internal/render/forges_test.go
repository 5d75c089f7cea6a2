package render

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// alikeForges have one template: by their payloads alone they are hardly told apart.
var alikeForges = []string{"github", "gitea", "forgejo"}

// wordless are samples of events that have nothing of their own in the payload: the
// header names them.
var wordless = []string{
	"branch-protection-rule-created", "label-created", "repository-archived", "repository-created", "repository-deleted", "star-deleted", "unknown-event",
}

// TestForgesWithoutHeaders: the payload alone tells whose it is, and what has happened.
func TestForgesWithoutHeaders(t *testing.T) {
	set := loaded(t, "")
	for _, forge := range append(alikeForges, "gitlab") {
		for _, file := range glob(t, "testdata/payloads/"+forge+"/*.json") {
			in := readSample(t, file)
			want := shown(set.Render(forge, in))
			in.Header = nil
			name := Recognize(in)
			if name != forge && !(slices.Contains(alikeForges, name) && slices.Contains(alikeForges, forge)) {
				t.Errorf("%s is taken for %s", file, name)
			}
			if slices.Contains(wordless, strings.TrimSuffix(filepath.Base(file), ".json")) {
				continue
			}
			if got := shown(set.Render(forge, in)); got != want {
				t.Errorf("%s:\n%s\nwithout headers:\n%s", file, want, got)
			}
		}
	}
}

// TestLargePush: of 2000 commits five are told, and the number of the others.
func TestLargePush(t *testing.T) {
	set := loaded(t, "")
	var commits []any
	for i := range 2000 {
		commits = append(commits, map[string]any{"id": fmt.Sprintf("%040d", i), "message": fmt.Sprintf("step %d", i), "author": map[string]any{"name": "Ben"}})
	}
	for name, total := range map[string]string{"github": "size", "gitea": "total_commits", "gitlab": "total_commits_count"} {
		in := readSample(t, "testdata/payloads/"+name+"/push-one-commit.json")
		in.Payload = replaced(replaced(in.Payload, []string{"commits"}, commits), []string{total}, int64(2000))
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
		"github": "it has no repository", "gitea": "it has no repository", "forgejo": "it has no repository", "gitlab": "it has no object_kind",
	} {
		for _, payload := range []any{alert.Payload, map[string]any{}, []any{}, "text"} {
			_, err := set.Render(name, Input{Payload: payload})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
