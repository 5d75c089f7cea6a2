package render

import (
	"path/filepath"
	"strings"
	"testing"
)

// alike are samples that do not show by themselves which tool has sent them, and what
// they are taken for.
var alike = map[string]string{
	"gotify/message-only":               "json",
	"gotify/no-message":                 "json",
	"gotify/query":                      "json",
	"json/null":                         "ntfy", // a text
	"json/string":                       "ntfy",
	"ntfy/other-json":                   "json",
	"slack/empty-text":                  "json", // a text alone may be anybody's
	"slack/escapes":                     "json",
	"slack/form-without-content-type":   "json",
	"slack/from-gitea-issue-comment":    "gitea", // whose headers it has
	"slack/from-gitea-push":             "gitea",
	"slack/mrkdwn-escapes":              "json",
	"slack/mrkdwn-lone-signs":           "json",
	"slack/text":                        "json",
	"uptime-kuma/certificate-expiry":    "json", // words alone
	"uptime-kuma/certificate-expiry-v1": "json",
	"uptime-kuma/custom-body":           "json",
	"uptime-kuma/test":                  "json",
}

// TestRecognize: the samples of each tool are recognized.
func TestRecognize(t *testing.T) {
	for _, file := range glob(t, "testdata/payloads/*/*.json") {
		name := filepath.Base(filepath.Dir(file))
		sample := name + "/" + strings.TrimSuffix(filepath.Base(file), ".json")
		want := name
		if other, is := alike[sample]; is {
			want = other
		}
		if got := Recognize(readSample(t, file)); got != want {
			t.Errorf("%s is taken for %s, not %s", sample, got, want)
		}
	}
}
