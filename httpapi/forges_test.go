package httpapi

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// signed gives the headers by which a forge proves that a body is its own: GitHub's are
// Gitea's too, and Gitea's Forgejo's.
func signed(forge, key string, body string) map[string]string {
	if forge == "gitlab" {
		return map[string]string{"X-Gitlab-Token": key}
	}
	mac := macOf(key, []byte(body))
	header := map[string]string{"X-Hub-Signature-256": "sha256=" + mac}
	if forge != "github" {
		header["X-Gitea-Signature"], header["X-Gogs-Signature"] = mac, mac
	}
	if forge == "forgejo" {
		header["X-Forgejo-Signature"] = mac
	}
	return header
}

// fromForge is a delivery as the forge posts it, with its own headers.
func (s *sample) fromForge(forge, key, path string) call {
	c := call{path: path, typ: "-", body: s.Body, header: map[string]string{"Authorization": "-"}}
	if len(s.Payload) > 0 {
		c.body = string(s.Payload)
	}
	maps.Copy(c.header, s.Headers)
	maps.Copy(c.header, signed(forge, key, c.body))
	return c
}

var (
	tokenFields = regexp.MustCompile(`/tokens -u me@example\.com --json '(\{.*\})'`)
	bearer      = regexp.MustCompile("`Bearer TOKEN`")
)

// TestForgesAsSetUp: a token made as the page says lets the forge send to the address
// there, with the secret and no other, and a delivery twice is one request.
func TestForgesAsSetUp(t *testing.T) {
	for forge, file := range map[string]string{"github": "github.md", "gitea": "gitea.md", "forgejo": "gitea.md", "gitlab": "gitlab.md"} {
		t.Run(forge, func(t *testing.T) {
			page, err := os.ReadFile("../docs/senders/" + file)
			if err != nil {
				t.Fatal(err)
			}
			h := newHouse(nil)
			text, _ := h.do(t, creation(tokenFields.FindStringSubmatch(string(page))[1])).member(t, "token").(string)
			_, path, _ := strings.Cut(regexp.MustCompile(`/hook/`+forge+`/[^\x60]+`).FindString(string(page)), "/hook/")
			push := readSample(t, "payloads", forge, "push-one-commit.json")
			deliver := func(key string) answer {
				c := push.fromForge(forge, key, "/hook/"+strings.ReplaceAll(path, "TOKEN", text))
				if bearer.Match(page) {
					c.header["Authorization"] = "Bearer " + text
				}
				return h.do(t, c)
			}
			if got := deliver("SECRET"); got.status != 201 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if sent := h.deliverer.take(); len(sent) != 1 || sent[0].To != "ops@rooms.example.com" || !strings.Contains(sent[0].Body, "pushed 1 commit\n0f34755 fix: reconnect on stream error") {
				t.Errorf("sent is %+v", sent)
			}
			if got := deliver("another"); got.status != 403 || !strings.Contains(got.body, "is not the signature of this body") {
				t.Errorf("with another secret: %d %s", got.status, got.body)
			}
			deliver("SECRET")
			if requests := h.deliverer.requests; len(requests) != 2 || requests[0].Scope == "" || requests[0].Scope != requests[1].Scope || requests[0].Digest != requests[1].Digest {
				t.Errorf("a delivery twice is no request twice: %+v", requests)
			}
		})
	}
}

// TestForges: events as forges post them, in all their forms.
func TestForges(t *testing.T) {
	const key = "a secret"
	for _, test := range []struct {
		forge, sample, template string
		status                  int
		says                    string // the message, or the answer
	}{
		{"github", "push-form", "github", 201, "*ops/posthorn* main: jane pushed 1 commit\n"},
		{"github", "push-form", "auto", 201, "*ops/posthorn* main: jane pushed 1 commit\n"},
		{"github", "ping", "github", 201, "👋 *ops/posthorn* The webhook works. Events: push, pull request"},
		{"github", "issue-labeled", "github", 204, ""},
		{"github", "workflow-run-requested", "auto", 204, ""},
		{"github", "unknown-event", "github", 201, "*ops/posthorn* orbit plan launch requested by jane"},
		{"gitea", "push-form", "gitea", 403, "is not the signature of this body"}, // what Gitea signs is the JSON in it
		{"gitea", "test-delivery", "gitea", 201, "👋 *ops/posthorn* The webhook works: this is a test delivery"},
		{"gitea", "issue-label-updated", "auto", 204, ""},
		{"forgejo", "action-run-recover", "auto", 201, "✅ *ops/posthorn* workflow test.yml passes again on main"},
		{"forgejo", "action-run-success", "forgejo", 201, "passed on main"},
		{"gitlab", "note-issue-confidential", "auto", 201, "*ops/posthorn* Ben commented on confidential issue #41"},
		{"gitlab", "pipeline-running", "gitlab", 204, ""},
		{"gitlab", "unknown-event", "gitlab", 201, "*ops/posthorn* orbit plan launch: Jane Doe"},
		{"alertmanager", "firing", "github", 422, "it has no repository"},
		{"alertmanager", "firing", "gitlab", 422, "it has no object_kind"},
	} {
		t.Run(test.template+" of "+test.forge+" "+test.sample, func(t *testing.T) {
			h := newHouse(nil)
			text := h.made(t, me, token.Request{Signing: secret.New(key)})
			s := readSample(t, "payloads", test.forge, test.sample+".json")
			c := s.fromForge(test.forge, key, "/hook/"+test.template+"/user?token="+text)
			if test.forge == "gitea" && s.Body != "" {
				maps.Copy(c.header, signed("gitea", key, "{}"))
			}
			got := h.do(t, c)
			says := got.body
			for _, m := range h.deliverer.take() {
				says = m.Body
			}
			if got.status != test.status || !strings.Contains(says, test.says) || test.status == 204 && says != "" {
				t.Errorf("%d %s", got.status, says)
			}
		})
	}
}

// TestUnsignedForge: without a secret Gitea sends headers of signatures all the same,
// which a token without one does not look at.
func TestUnsignedForge(t *testing.T) {
	s := readSample(t, "requests", "gitea", "push-get.json")
	h := newHouse(nil)
	for _, test := range []struct {
		request token.Request
		status  int
	}{{token.Request{}, 201}, {token.Request{Signing: secret.New("a secret")}, 403}} {
		c := call{path: "/hook/gitea/user?token=" + h.made(t, me, test.request), typ: asJSON, body: s.Query["payload"], header: maps.Clone(s.Headers)}
		c.header["Authorization"] = "-"
		if got := h.do(t, c); got.status != test.status {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}
