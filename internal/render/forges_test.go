package render

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alikeForges have one template: by their payloads alone they are hardly told apart.
var alikeForges = []string{"github", "gitea", "forgejo"}

// wordless are samples of events that have nothing of their own in the payload: the
// header names them.
var wordless = []string{
	"branch-protection-rule-created", "label-created", "repository-archived", "deployment-review-requested", "repository-created", "repository-deleted", "repository-public", "star-deleted", "unknown-event",
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

// TestForgePages: the page of a forge has a row for each event of which there is a
// sample, and says that nothing comes of it where nothing does.
func TestForgePages(t *testing.T) {
	set := loaded(t, "")
	for page, forges := range map[string][]string{"github": {"github"}, "gitea": {"gitea", "forgejo"}, "gitlab": {"gitlab"}} {
		silent := eventsOnPage(t, page)
		told := make(map[string]bool)
		for _, forge := range forges {
			for _, file := range glob(t, "testdata/payloads/"+forge+"/*.json") {
				in := readSample(t, file)
				event := forgeEvent(in)
				m, _ := set.Render(forge, in)
				told[event] = told[event] || m.Body != ""
				if _, listed := silent[event]; !listed && !strings.Contains(file, "unknown-event") {
					t.Errorf("%s.md has no row for %s", page, event)
				}
			}
		}
		for event, nothing := range silent {
			if heard, sampled := told[event]; sampled && heard == nothing {
				t.Errorf("%s.md says of %s that there is a message: %v", page, event, !nothing)
			}
		}
	}
}

// eventsOnPage gives the events of a page's table, and whether nothing comes of each.
func eventsOnPage(t *testing.T, page string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/senders/" + page + ".md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| event | a message | nothing, because |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	events := make(map[string]bool)
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[0], -1) {
			events[name[1]] = cells[1] == "nothing"
		}
	}
	return events
}

// forgeEvent gives the name of an event as the pages have it.
func forgeEvent(in Input) string {
	if event := in.Header("X-GitHub-Event"); event != "" {
		return event
	}
	payload, _ := in.Payload.(map[string]any)
	return text(pick(payload, "object_kind", "event_name"))
}
