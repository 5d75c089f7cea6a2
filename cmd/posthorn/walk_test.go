package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"posthorn/internal/xmpptest"
)

// TestReadme: who follows the README on a machine with an unmodified Prosody gets from
// nothing to a first message.
func TestReadme(t *testing.T) {
	m := newMachine(t, "Prosody")
	out := m.follow("README.md")
	user := m.server.MustLogin(t, "user@example.com", password)
	expect(t, user, "me@example.com", "Server@host has just crashed!")
	checkGreen(t, out, "mode direct; the server tells")
	checkAnswer(t, out)
	checkPrinted(t, m, "README.md", out)
}

// checkGreen: check has said this, and found nothing.
func checkGreen(t *testing.T, out, said string) {
	t.Helper()
	if !strings.Contains(out, said) || strings.Contains(out, "FAIL") {
		t.Errorf("check has not said %q, or found something:\n%s", said, out)
	}
}

// checkAnswer: the last answer that was given has the members of the one that the
// README shows, and all but the id as it does.
func checkAnswer(t *testing.T, out string) {
	t.Helper()
	for _, b := range blocks(t, "README.md") {
		if b.language != "json" {
			continue
		}
		var want, got map[string]string
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if err := json.Unmarshal([]byte(b.text), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if len(got["id"]) != len(want["id"]) || got["to"] != want["to"] || got["status"] != want["status"] || len(got) != len(want) {
			t.Errorf("the answer is %v, and the README shows %v", got, want)
		}
	}
}

var unquoted = regexp.MustCompile(`^\s*(#|--)?\s*`)

// checkPrinted: each line that a page says is printed was, be it commented out.
func checkPrinted(t *testing.T, m *machine, page, out string) {
	t.Helper()
	_, port, _ := strings.Cut(m.server.ComponentAddress, ":")
	known := make(map[string]bool)
	for line := range strings.Lines(strings.ReplaceAll(out, port, "5347")) {
		known[unquoted.ReplaceAllString(strings.TrimSpace(line), "")] = true
	}
	shown := 0
	for _, b := range blocks(t, page) {
		if b.mark("printed") == "" {
			continue
		}
		for line := range strings.Lines(b.text) {
			if shown++; !known[unquoted.ReplaceAllString(strings.TrimSpace(line), "")] {
				t.Errorf("%s shows %q, which is not printed", page, strings.TrimSpace(line))
			}
		}
	}
	if shown == 0 {
		t.Errorf("%s shows no lines", page)
	}
}

// TestProsodyPage: both modes, one after the other, as the page sets them up.
func TestProsodyPage(t *testing.T) {
	testServerPage(t, "Prosody", "docs/prosody.md")
}

// TestEjabberdPage is the same for ejabberd.
func TestEjabberdPage(t *testing.T) {
	testServerPage(t, "ejabberd", "docs/ejabberd.md")
}

func testServerPage(t *testing.T, server, page string) {
	m := newMachine(t, server)
	out := m.follow(page)
	user := m.server.MustLogin(t, "user@example.com", password)
	expect(t, user, "me@example.com", "it works")
	expect(t, user, "me@example.com", "by privilege")
	checkGreen(t, out, "mode direct")
	checkGreen(t, out, "mode privilege")
	checkPrinted(t, m, page, out)
}

// configured is how a block begins that is a part of posthorn's configuration.
var configured = regexp.MustCompile(`^(component|http|auth|policy|limits|delivery|hooks|store|metrics|log):`)

// TestConfigurations: what pages show of posthorn's configuration is such, beside the
// smallest one.
func TestConfigurations(t *testing.T) {
	var shown int
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			if b.language != "yaml" || !configured.MatchString(b.text) {
				continue
			}
			shown++
			if err := loadBeside(t, b.text); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, b.text)
			}
		}
	}
	if shown == 0 {
		t.Error("no page shows any")
	}
}

// loadBeside loads a part of a configuration, with the smallest one in the environment.
func loadBeside(t *testing.T, text string) error {
	dir := t.TempDir()
	t.Setenv("POSTHORN_COMPONENT_DOMAIN", "post.example.com")
	t.Setenv("POSTHORN_COMPONENT_SECRET", "change-me")
	t.Setenv("POSTHORN_AUTH_HOSTS", "example.com")
	if strings.Contains(text, "hosts:") {
		_ = os.Unsetenv("POSTHORN_AUTH_HOSTS") // else it would win
	}
	file := filepath.Join(dir, "posthorn.yaml")
	writeFile(t, file, strings.ReplaceAll(text, "/etc/posthorn/hooks", dir))
	_, _, err := loadConfig(file, os.Getenv)
	return err
}

// TestSendingPage: each of its commands sends what it says.
func TestSendingPage(t *testing.T) {
	m := installed(t, "Prosody")
	user := m.server.MustLogin(t, "user@example.com", password)
	openRoom(t, user, "ops", nil)
	token := m.token("me@example.com", "page")
	m.follow("docs/sending.md", "Bearer TOKEN", "Bearer "+token, "token=TOKEN", "token="+token)
	// One of them comes from the room, whose subject has come before.
	received(t, user, map[string]int{"": 1, "disk full": 10, "backup done": 1, "disk is fine again": 1}, 14)
}

// received takes n messages, and compares how many of each text there are.
func received(t *testing.T, user *xmpptest.Client, want map[string]int, n int) {
	t.Helper()
	got := make(map[string]int)
	for range n {
		got[user.MustReceive(t).Body]++
	}
	for text, times := range want {
		if got[text] != times {
			t.Errorf("%q was received %d times, want %d: %v", text, got[text], times, got)
		}
	}
}

// token makes one.
func (m *machine) token(owner, name string) string {
	m.t.Helper()
	out := m.run("posthorn token create --for " + owner + " --name " + name)
	found := regexp.MustCompile(`ph_\S+`).FindString(out)
	if found == "" {
		m.t.Fatalf("no token in %s", out)
	}
	return found
}

// TestOperatingPage: what an administrator does with kept messages and with tokens.
func TestOperatingPage(t *testing.T) {
	m := installed(t, "Prosody")
	send := "curl http://localhost:5288/msg/user -u me@example.com:" + password + " -d kept\n"
	m.run(send + "systemctl stop prosody\n")
	var kept struct{ ID string }
	out := m.run(send)
	if err := json.Unmarshal([]byte(out), &kept); err != nil || !strings.Contains(out, `"queued"`) {
		t.Fatalf("%v: %s", err, out)
	}
	out = m.follow("docs/operating.md",
		"posthorn outbox show ID", "posthorn outbox show "+kept.ID,
		"posthorn outbox retry ID", "posthorn outbox retry "+kept.ID,
		"posthorn outbox drop ID", "posthorn outbox drop "+kept.ID+"\nsystemctl start prosody\n:")
	if strings.Count(out, "ph_") < 2 {
		t.Errorf("no two tokens in\n%s", out)
	}
}

// TestHooksPage: a webhook by curl, and the commands for one's own templates.
func TestHooksPage(t *testing.T) {
	m := installed(t, "Prosody")
	user := m.server.MustLogin(t, "user@example.com", password)
	etc := filepath.Join(m.dir, "etc/posthorn")
	text, err := os.ReadFile("../../internal/render/testdata/payloads/alertmanager/firing.json")
	var sample struct{ Payload json.RawMessage }
	if err := errors.Join(err, json.Unmarshal(text, &sample)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(etc, "payload.json"), string(sample.Payload))
	m.env = append(m.env, "POSTHORN_HOOKS_DIR="+etc)
	out := m.follow("docs/hooks.md")
	m1 := user.MustReceive(t)
	first, _, _ := strings.Cut(m1.Body, "\n")
	if !strings.HasPrefix(first, "🔥 *InstanceDown*") || !strings.Contains(out, m1.Body) {
		t.Errorf("received %q, and rendered\n%s", m1.Body, out)
	}
}

// TestCommandsOfPages: pages whose commands need no more than a posthorn that runs.
func TestCommandsOfPages(t *testing.T) {
	m := installed(t, "Prosody")
	for _, page := range []string{"docs/migrating.md", "docs/senders/gitea.md", "docs/senders/github.md", "docs/senders/gitlab.md"} {
		m.follow(page)
	}
}
