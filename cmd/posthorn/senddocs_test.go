package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sendDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/send.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSendDocumented: docs/send.md has every flag and every key.
func TestSendDocumented(t *testing.T) {
	doc := sendDocs(t)
	(&submission{}).flags().VisitAll(func(f *flag.Flag) {
		dashes := "-"
		if len(f.Name) > 1 {
			dashes = "--"
		}
		if !regexp.MustCompile("`" + dashes + f.Name + "[` ]").MatchString(doc) {
			t.Errorf("docs/send.md lacks %s%s", dashes, f.Name)
		}
	})
	for _, key := range sendKeys {
		if !strings.Contains(doc, "\n| `"+key+"` |") {
			t.Errorf("docs/send.md lacks the key %s", key)
		}
	}
}

// TestSendDocs: the commands of docs/send.md, with the configuration that stands
// there, send what they say.
func TestSendDocs(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	keys := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		first, _, _ := strings.Cut(dump(r), "\n")
		user, word, _ := r.BasicAuth()
		asked = append(asked, strings.TrimPrefix(first, "POST "))
		if user != "me@example.com" || word != password {
			t.Errorf("sent by %s:%s", user, word)
		}
		w.WriteHeader(http.StatusCreated)
		if key := r.Header.Get("Idempotency-Key"); key != "" {
			keys[key]++
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"graph.png": "\x89PNG", "payload.json": "{}", "report.txt": "done\nin time\n",
		"send.yaml": strings.Replace(textsIn(t, sendDocs(t), "yaml")[0], "http://127.0.0.1:5288", server.URL, 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `mkdir posthorn && mv send.yaml posthorn && HOSTNAME=db1
sleep() { :; }
make() { echo made; }
` + strings.Join(textsIn(t, sendDocs(t), "sh"), "")
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + dir, hurry}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	want := []string{
		"/msg/user@example.com",
		"/msg/user@example.com,bob@example.org?subject=disk+of+db1",
		"/msg/ops@rooms.example.com?type=groupchat",
		"/msg/user@example.com",
		"/msg/user@example.com?attach=1&subject=build",
		"/hook/json/user@example.com",
		"/msg/user",
		"/msg/user@example.com",
		"/msg/user@example.com?subject=backup",
		"/msg/test2@rooms.example.com?nick=TheCook&type=groupchat",
		"/msg/user@example.com",
		"/msg/user@example.com",
	}
	for i, line := range asked {
		asked[i] = strings.TrimSuffix(line, " HTTP/1.1")
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	if len(keys) != 1 {
		t.Error(fmt.Sprint("keys: ", keys))
	}
}
