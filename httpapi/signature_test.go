package httpapi

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// TestSignatures: a token with a signing secret is good for bodies that are signed
// with it, and for no others.
func TestSignatures(t *testing.T) {
	const body, key = "hello", "It's a Secret to Everybody"
	mac := macOf("another", []byte(body))
	good := macOf(key, []byte(body))
	now := strconv.FormatInt(time.Now().Unix(), 10)
	old := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	for _, test := range []struct {
		name   string
		header map[string]string
		status int
	}{
		{"GitHub", map[string]string{"X-Hub-Signature-256": "sha256=" + good}, 201},
		{"GitHub, without its prefix", map[string]string{"X-Hub-Signature-256": good}, 403},
		{"GitHub, another", map[string]string{"X-Hub-Signature-256": "sha256=" + mac}, 403},
		{"GitHub, upper case", map[string]string{"X-Hub-Signature-256": "sha256=" + strings.ToUpper(good)}, 403},
		{"GitHub's old one alone", map[string]string{"X-Hub-Signature": "sha1=x"}, 403},
		{"Gitea", map[string]string{"X-Gitea-Signature": good}, 201},
		{"Gitea, all of its headers", map[string]string{"X-Gitea-Signature": good, "X-Gogs-Signature": good, "X-Hub-Signature-256": "sha256=" + good}, 201},
		{"Gitea, one of them wrong", map[string]string{"X-Gitea-Signature": good, "X-Hub-Signature-256": "sha256=" + mac}, 403},
		{"Forgejo", map[string]string{"X-Forgejo-Signature": good}, 201},
		{"Grafana", map[string]string{"X-Grafana-Alerting-Signature": good}, 201},
		{"Grafana, with its time", map[string]string{"X-Grafana-Alerting-Signature": macOf(key, []byte(now+":"+body)), "X-Grafana-Alerting-Timestamp": now}, 201},
		{"Grafana, the time not signed", map[string]string{"X-Grafana-Alerting-Signature": good, "X-Grafana-Alerting-Timestamp": now}, 403},
		{"Grafana, an hour later", map[string]string{"X-Grafana-Alerting-Signature": macOf(key, []byte(old+":"+body)), "X-Grafana-Alerting-Timestamp": old}, 403},
		{"Grafana, no time", map[string]string{"X-Grafana-Alerting-Signature": macOf(key, []byte("x:"+body)), "X-Grafana-Alerting-Timestamp": "x"}, 403},
		{"GitLab", map[string]string{"X-Gitlab-Token": key}, 201},
		{"GitLab, another", map[string]string{"X-Gitlab-Token": key + "!"}, 403},
		{"none", nil, 403},
		{"an empty one", map[string]string{"X-Gitea-Signature": ""}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(nil)
			text := h.made(t, me, token.Request{Signing: secret.New(key)})
			c := call{body: body, header: map[string]string{"Authorization": "Bearer " + text}}
			for name, value := range test.header {
				c.header[name] = value
			}
			got := h.do(t, c)
			if got.status != test.status || (len(h.deliverer.take()) > 0) != (test.status == 201) {
				t.Errorf("%d %s", got.status, got.body)
			}
			if strings.Contains(got.body, key) || strings.Contains(h.log.String(), key) {
				t.Error("the secret is shown")
			}
		})
	}
}

// TestSignatureValue: GitHub's documentation has this example.
func TestSignatureValue(t *testing.T) {
	if got := macOf("It's a Secret to Everybody", []byte("Hello, World!")); got != "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17" {
		t.Errorf("the signature is %s", got)
	}
}
