package httpapi

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/viper"

	"posthorn/internal/token"
)

// What a page in docs/senders says of itself is tried out:
//
//   - A block behind a line such as
//     <!-- received: alertmanager/firing -->
//     is the text of the message made of that sample, which is
//     internal/render/testdata/payloads/alertmanager/firing.json. A path may follow the
//     sample's name (<!-- received: alertmanager/firing /hook/auto/user?emoji=0 -->);
//     without one it goes to /hook/alertmanager/user. With -update (go test ./httpapi
//     -run Senders -update) the blocks are written.
//   - To each address of a webhook, which is whatever has /hook/NAME/ in it, the page's
//     first sample for that template is sent, or else its first, as its tool would send
//     it, and a message has to come of it. In an address TOKEN is a token, a user name is
//     that of an account, and PASSWORD its password.
//   - Blocks of yaml and json are such.
var update = flag.Bool("update", false, "write what is received into the pages in docs/senders, and beside the requests")

var (
	receivedBlock = regexp.MustCompile("(?ms)^(<!-- received: ([a-z0-9-]+)/(\\S+)(?: (/hook/\\S+))? -->\n+```[a-z]*\n)(.*?)(^```$)")
	hookAddress   = regexp.MustCompile("(?:https?://[^\\s\"'<>`]*)?/hook/([a-z0-9._-]+)/[^\\s\"'<>`),;]+")
	fencedBlock   = regexp.MustCompile("(?ms)^```(yaml|json)\n(.*?)^```$")
)

// A sample is a request as its tool sends it, without an address and credentials.
type sample struct {
	Method  string            `json:"method"` // "": POST
	Headers map[string]string `json:"headers"`
	Query   map[string]string `json:"query"`
	Payload json.RawMessage   `json:"payload"`
	Body    string            `json:"body"` // of a request that is no JSON
}

func readSample(t *testing.T, path ...string) (s sample) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../internal/render/testdata", filepath.Join(path...)))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// post sends it to an address, and gives the text that the recipient gets.
func (s *sample) post(t *testing.T, address string) string {
	t.Helper()
	h := newHouse(nil)
	made := h.made(t, me, token.Request{})
	u, err := url.Parse(strings.ReplaceAll(address, "TOKEN", made))
	if err != nil {
		t.Fatal(err)
	}
	c := call{method: s.Method, typ: "-", body: s.Body, header: map[string]string{}}
	if len(s.Payload) > 0 {
		c.body = string(s.Payload)
	}
	for name, value := range s.Headers {
		c.header[name] = strings.NewReplacer("AbCdEf.123", made, "TOKEN", made).Replace(value) // Gotify's clients send tokens
	}
	query := u.Query()
	for name, value := range s.Query {
		if name == "token" {
			value = made
		}
		query.Set(name, value)
	}
	switch {
	case u.User != nil:
		word, _ := u.User.Password()
		c.header["Authorization"] = basic(u.User.Username(), strings.ReplaceAll(word, "PASSWORD", password))
	case query.Has("token"):
		c.header["Authorization"] = "-"
	}
	c.path = u.EscapedPath()
	if len(query) > 0 {
		c.path += "?" + query.Encode()
	}
	got := h.do(t, c)
	sent := h.deliverer.take()
	if got.status != http.StatusCreated && got.status != http.StatusOK || len(sent) == 0 {
		t.Fatalf("to %s: %d %s, and %d messages", address, got.status, got.body, len(sent))
	}
	return sent[0].Body
}

// TestRequests sends what tools send in other forms than JSON, by GET or as a form, and
// compares what is received with the file beside the request.
func TestRequests(t *testing.T) {
	files, err := filepath.Glob("../internal/render/testdata/requests/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no requests:", err)
	}
	for _, file := range files {
		tool, name := filepath.Base(filepath.Dir(file)), filepath.Base(file)
		t.Run(tool+"/"+name, func(t *testing.T) {
			s := readSample(t, "requests", tool, name)
			compareFile(t, strings.TrimSuffix(file, ".json")+".txt", s.post(t, "/hook/"+tool+"/user")+"\n")
		})
	}
}

func compareFile(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", file, diff)
	}
}

// TestSenders tries out what the pages say.
func TestSenders(t *testing.T) {
	pages, err := filepath.Glob("../docs/senders/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("there are no pages:", err)
	}
	for _, file := range pages {
		t.Run(filepath.Base(file), func(t *testing.T) { trySender(t, file) })
	}
}

// TestHooksDocumented: docs/hooks.md has what a webhook's URL can say, and leads to each
// page.
func TestHooksDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"`emoji=0`", "`update=1`", "`xhtml=1`"}
	for _, name := range overrides {
		want = append(want, "`"+name+"`")
	}
	pages, _ := filepath.Glob("../docs/senders/*.md")
	for _, page := range pages {
		want = append(want, "(senders/"+filepath.Base(page)+")")
	}
	for _, part := range want {
		if !strings.Contains(string(text), part) {
			t.Errorf("docs/hooks.md has no %s", part)
		}
	}
}

func trySender(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	received := receivedBlock.FindAllStringSubmatch(string(text), -1)
	if len(received) == 0 {
		t.Fatal("the page does not show what is received")
	}
	if strings.Count(string(text), "<!-- received:") != len(received) {
		t.Error("no block follows on one of the lines <!-- received: … -->")
	}
	compareFile(t, file, asReceived(t, string(text)))
	samples := make(map[string]sample)
	for _, r := range received {
		if _, known := samples[r[2]]; !known {
			samples[r[2]] = readSample(t, "payloads", r[2], r[3]+".json")
		}
	}
	addresses := hookAddress.FindAllStringSubmatch(receivedBlock.ReplaceAllString(string(text), ""), -1)
	if len(addresses) == 0 {
		t.Error("the page does not say where to post to")
	}
	for _, address := range addresses {
		s, known := samples[address[1]]
		if !known {
			s = samples[received[0][2]]
		}
		s.post(t, address[0])
	}
	tryBlocks(t, string(text))
}

// asReceived is the page with what is received.
func asReceived(t *testing.T, text string) string {
	return receivedBlock.ReplaceAllStringFunc(text, func(block string) string {
		r := receivedBlock.FindStringSubmatch(block)
		path := r[4]
		if path == "" {
			path = "/hook/" + r[2] + "/user"
		}
		s := readSample(t, "payloads", r[2], r[3]+".json")
		return r[1] + strings.TrimSuffix(s.post(t, path), "\n") + "\n" + r[6]
	})
}

// tryBlocks reads the configuration on a page as its tool would, at least its form.
func tryBlocks(t *testing.T, text string) {
	for _, block := range fencedBlock.FindAllStringSubmatch(text, -1) {
		v := viper.New()
		v.SetConfigType(block[1])
		if err := v.ReadConfig(strings.NewReader(block[2])); err != nil {
			t.Errorf("%v in\n%s", err, block[2])
		}
	}
}
