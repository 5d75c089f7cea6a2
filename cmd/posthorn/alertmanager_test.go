package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// alertmanagerPage is what administrators read.
func alertmanagerPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/senders/alertmanager.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pageConfig is the configuration on it.
func pageConfig(t *testing.T) string {
	t.Helper()
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindStringSubmatch(alertmanagerPage(t))
	if block == nil {
		t.Fatal("the page has no configuration")
	}
	return block[1]
}

// An alertmanager is Debian's, with the configuration that the page has.
type alertmanager struct {
	*xmpptest.Process
	URL    string
	Config string // the file
	log    *lines
}

// startAlertmanager runs it for the length of the test, in front of h. Of the page's
// configuration the address and the password are replaced, and what would make a test
// wait; query stands behind the address.
func startAlertmanager(t *testing.T, h *posthorn, query string) *alertmanager {
	t.Helper()
	config := pageConfig(t)
	for _, r := range [][2]string{
		{"http://localhost:5288/hook/alertmanager/user", h.URL + "/hook/alertmanager/user" + query},
		{"password: mypassword", "password: " + password},
		{"group_by: [alertname]", "group_by: [alertname]\n  group_wait: 10ms\n  group_interval: 1s"},
	} {
		if strings.Count(config, r[0]) != 1 {
			t.Fatalf("the page's configuration has no %q, or several", r[0])
		}
		config = strings.Replace(config, r[0], r[1], 1)
	}
	return runAlertmanager(t, config)
}

// runAlertmanager runs it with a configuration for the length of the test.
func runAlertmanager(t *testing.T, config string) *alertmanager {
	t.Helper()
	dir := t.TempDir()
	listen := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	a := &alertmanager{URL: "http://" + listen, Config: filepath.Join(dir, "alertmanager.yml"), log: &lines{t: t}}
	if err := os.WriteFile(a.Config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus-alertmanager", "--config.file="+a.Config, "--storage.path="+dir,
		"--web.listen-address="+listen, "--web.external-url="+a.URL, "--cluster.listen-address=", "--log.level=debug")
	cmd.Stderr = a.log
	var err error
	if a.Process, err = xmpptest.StartProcess(cmd); err != nil {
		t.Fatalf("prometheus-alertmanager, of Debian's package of that name: %v", err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Alertmanager's log:\n%s", a.log)
		}
	})
	xmpptest.Wait(t, 15*time.Second, "Alertmanager is ready", func() bool {
		response, err := http.Get(a.URL + "/-/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return a
}

// An alert is what Prometheus posts to Alertmanager.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt,omitzero"`
	GeneratorURL string            `json:"generatorURL"`
}

// tell posts it, with an end when it is over.
func (a *alertmanager) tell(t *testing.T, al alert) {
	t.Helper()
	body, err := json.Marshal([]alert{al})
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(a.URL+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("Alertmanager answers %s", response.Status)
	}
}

// instanceDown began ten minutes ago.
func instanceDown() alert {
	return alert{
		Labels:       map[string]string{"alertname": "InstanceDown", "instance": "web-1:9100", "disk": `C:\ "ä + b"`, "severity": "critical"},
		Annotations:  map[string]string{"summary": "web-1 is down"},
		StartsAt:     time.Now().Add(-10 * time.Minute).Truncate(time.Second).UTC(),
		GeneratorURL: "http://prometheus.example.org/graph?g0.expr=up",
	}
}

// expectLine receives a message, and checks how it begins.
func expectLine(t *testing.T, user *xmpptest.Client, want string) xmpptest.Message {
	t.Helper()
	m := user.MustReceive(t)
	if from, _, _ := strings.Cut(m.From, "/"); from != "me@example.com" || !strings.HasPrefix(m.Body, want) {
		t.Fatalf("received from %s, not beginning with %q:\n%s", m.From, want, m.Body)
	}
	return m
}

// TestAlertmanager: the real one, configured as its page says, tells of an alert and of
// its end.
func TestAlertmanager(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	a := startAlertmanager(t, h, "")

	down := instanceDown()
	a.tell(t, down)
	fired := expectLine(t, user, "🔥 *InstanceDown* (critical): web-1 is down\ndisk=")
	if since := "\nSince " + down.StartsAt.Format("2006-01-02 15:04") + " UTC\n"; !strings.Contains(fired.Body, since) {
		t.Errorf("no %q in\n%s", since, fired.Body)
	}
	a.checkSilence(t, fired.Body)

	down.EndsAt = down.StartsAt.Add(9*time.Minute + 30*time.Second)
	a.tell(t, down)
	expectLine(t, user, "✅ *InstanceDown* resolved after 9m 30s: web-1 is down\n")
}

// checkSilence: what the link to the silence form has in it matches the alert, as
// Alertmanager itself reads it.
func (a *alertmanager) checkSilence(t *testing.T, body string) {
	t.Helper()
	_, link, _ := strings.Cut(body, "\nSilence: ")
	filter, found := strings.CutPrefix(link, a.URL+"/#/silences/new?filter=")
	matchers, err := url.PathUnescape(filter) // the form leaves + as it is
	if !found || err != nil {
		t.Fatalf("no link to silence in\n%s", body)
	}
	query := make(url.Values)
	for _, m := range regexp.MustCompile(`\w+="(?:[^"\\]|\\.)*"`).FindAllString(matchers, -1) {
		query.Add("filter", m)
	}
	response, err := http.Get(a.URL + "/api/v2/alerts?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var alerts []alert
	if err := json.NewDecoder(response.Body).Decode(&alerts); err != nil || len(alerts) != 1 || len(query["filter"]) != len(alerts[0].Labels) {
		t.Errorf("%s matches %v, %v", matchers, alerts, err)
	}
}

// TestAlertmanagerCommands: those on the page work.
func TestAlertmanagerCommands(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	a := startAlertmanager(t, h, "")
	commands := regexp.MustCompile(`(?m)^    amtool (.*)$`).FindAllStringSubmatch(alertmanagerPage(t), -1)
	if len(commands) == 0 {
		t.Fatal("there are none")
	}
	for _, command := range commands {
		line := strings.NewReplacer("/etc/prometheus/alertmanager.yml", a.Config, "http://localhost:9093", a.URL).Replace(command[1])
		if out, err := exec.Command("amtool", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Errorf("amtool %s: %v\n%s", command[1], err, out)
		}
	}
	expectLine(t, user, "🔥 *tryout*: node=web-1\n")
}

// TestAlertmanagerVariants: what the page has in place of parts of the configuration is
// such.
func TestAlertmanagerVariants(t *testing.T) {
	page, config := alertmanagerPage(t), pageConfig(t)
	for _, variant := range []struct{ line, inPlaceOf, is string }{
		{"password_file: /etc/prometheus/posthorn-password", "password: mypassword", "LINE"},
		{"authorization: {credentials: TOKEN}", "basic_auth:\n            username: me@example.com\n            password: mypassword", "LINE"},
		{"send_resolved: false", "- url:", "- LINE\n        url:"},
	} {
		changed := strings.Replace(config, variant.inPlaceOf, strings.Replace(variant.is, "LINE", variant.line, 1), 1)
		if !strings.Contains(page, "`"+variant.line+"`") || changed == config {
			t.Errorf("the page has no %s, or nothing that it could stand in place of", variant.line)
		}
		file := filepath.Join(t.TempDir(), "alertmanager.yml")
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("amtool", "check-config", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", variant.line, err, out)
		}
	}
}

// TestAlertmanagerUpdates: with ?update=1 the end of an alert corrects its beginning, and
// another beginning does not.
func TestAlertmanagerUpdates(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	user := p.MustLogin(t, "user@example.com", password)
	a := startAlertmanager(t, h, "?update=1")

	down := instanceDown()
	a.tell(t, down)
	fired := expectLine(t, user, "🔥 *InstanceDown*")
	down.EndsAt = time.Now()
	a.tell(t, down)
	resolved := expectLine(t, user, "✅ *InstanceDown* resolved")
	a.tell(t, instanceDown())
	again := expectLine(t, user, "🔥 *InstanceDown*")
	if fired.Replace != "" || resolved.Replace != fired.ID || again.Replace != "" {
		t.Errorf("%s corrects %q, %s corrects %q, %s corrects %q", fired.ID, fired.Replace, resolved.ID, resolved.Replace, again.ID, again.Replace)
	}
}

// TestAlertmanagerRetries: while nothing can be sent or kept, Alertmanager gets 503 and
// tries again, until the message has arrived, once.
func TestAlertmanagerRetries(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	h := startPosthorn(t, p).ready(t)
	a := startAlertmanager(t, h, "")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	a.tell(t, instanceDown())
	xmpptest.Wait(t, 30*time.Second, "Alertmanager tries three times", func() bool {
		return regexp.MustCompile(`posthorn_httpapi_requests_total\{status="503"\} ([3-9]|\d\d)`).MatchString(h.metrics(t))
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	user := p.MustLogin(t, "user@example.com", password)
	expectLine(t, user, "🔥 *InstanceDown* (critical): web-1 is down\n")
	if got := h.metrics(t); !strings.Contains(got, `posthorn_httpapi_requests_total{status="201"} 1`) {
		t.Errorf("the answers are\n%s", got)
	}
	h.ready(t).mustPost(t, "/msg/user", "the last", nil)
	expect(t, user, "me@example.com", "the last")
}
