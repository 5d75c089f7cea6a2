package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/viper"

	"posthorn/internal/pgtest"
	"posthorn/internal/xmpptest"
)

const (
	dashboardFile = "../../deploy/grafana/posthorn.json"
	alertsFile    = "../../deploy/prometheus/alerts.yaml"
	alertsTest    = "../../deploy/prometheus/alerts_test.yaml"
)

// A panel is what the tests read of one.
type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	GridPos     struct{ H, W, X, Y int }
	Datasource  struct{ Type, UID string }
	Targets     []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

func readText(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// panels are those of the dashboard that show something.
func panels(t *testing.T) (shown []panel) {
	t.Helper()
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &dashboard); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(dashboard.Panels, func(p panel) bool { return p.Type == "row" })
}

// TestDashboard: every panel explains itself, asks the Prometheus that is chosen, and lies
// on no other; nothing is of one Grafana alone, and nothing is fetched from elsewhere.
func TestDashboard(t *testing.T) {
	text := readText(t, dashboardFile)
	if foreign := regexp.MustCompile(`https?://|"uid": *"[^$]|"(gnetId|__inputs|__requires|iteration)"`).FindString(text); foreign != "" {
		t.Errorf("the dashboard has %s", foreign)
	}
	taken, ids := make(map[[2]int]string), make(map[int]bool)
	for _, p := range panels(t) {
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.ID == 0 || ids[p.ID] {
			t.Errorf("panel %d, %q, lacks a title, a description, a query or a number of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if p.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, `{instance=~"$instance"`) {
				t.Errorf("%q does not ask what is chosen: %s", p.Title, target.Expr)
			}
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[cell]; other != "" || cell[0] >= 24 {
					t.Fatalf("%q lies on %q, or beyond the edge", p.Title, other)
				}
				taken[cell] = p.Title
			}
		}
	}
}

// TestMetricsExist: dashboard and alerts ask for what posthorn exports.
func TestMetricsExist(t *testing.T) {
	families, err := exported(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, f := range families {
		known[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			delete(known, f.GetName())
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[f.GetName()+suffix] = true
			}
		}
	}
	for _, file := range []string{dashboardFile, alertsFile, alertsTest} {
		names := regexp.MustCompile(`\b(posthorn|go|process)_[a-z_]+\b`).FindAllString(readText(t, file), -1)
		if len(names) == 0 {
			t.Errorf("%s asks for nothing", file)
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s asks for %s, which posthorn does not export", file, name)
			}
		}
	}
}

// A rule is an alert.
type rule struct {
	Alert       string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []rule {
	t.Helper()
	v := viper.New()
	v.SetConfigFile(alertsFile)
	var file struct{ Groups []struct{ Rules []rule } }
	if err := v.ReadInConfig(); err != nil {
		t.Fatal(err)
	}
	if err := v.Unmarshal(&file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

// TestAlerts: promtool understands them and shows each one firing; each says what to do,
// and where the documentation says more.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", alertsFile}, {"test", "rules", alertsTest}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool, of Debian's package prometheus: %v:\n%s", err, out)
		}
	}
	scenarios, documented := readText(t, alertsTest), readText(t, "../../docs/operating.md")
	var rows []string
	for _, a := range alerts(t) {
		if !strings.Contains(scenarios, fmt.Sprintf("{alertname=%q}", a.Alert)) {
			t.Errorf("nothing makes %s fire in %s", a.Alert, alertsTest)
		}
		if a.Annotations["summary"] == "" || len(a.Annotations["description"]) < 80 {
			t.Errorf("%s does not say what to do", a.Alert)
		}
		if anchor, found := strings.CutPrefix(a.Annotations["runbook"], "docs/operating.md#"); !found || !slices.Contains(anchors(documented), anchor) {
			t.Errorf("%s: there is no %s", a.Alert, a.Annotations["runbook"])
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |", a.Alert, a.Labels["severity"]))
	}
	if diff := cmp.Diff(rows, regexp.MustCompile("(?m)^\\| `Posthorn[A-Za-z]+` \\| [a-z]+ \\|").FindAllString(documented, -1)); diff != "" {
		t.Errorf("docs/operating.md differs from the rules:\n%s", diff)
	}
}

// TestPrometheus: Debian's, configured as the documentation says, scrapes two posthorns
// that share a database, has an answer to every question of the dashboard, and takes the
// alerts, none of which is about to fire: not because one of the two has no stream.
func TestPrometheus(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	pair, err := p.CA.Issue("posthorn.example.com")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := xmpptest.WriteCertificate(pair, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	replacements := []string{
		"http:\n", fmt.Sprintf("http:\n  tls: {cert_file: %s/cert.pem, key_file: %s/key.pem}\n", dir, dir),
		`store: ""`, fmt.Sprintf("store: %q", pgtest.Start(t, pgtest.Options{}).NewDatabase(t)),
	}
	asked := startPrometheus(t, startPosthorn(t, p, replacements...), startPosthorn(t, p, replacements...))
	xmpptest.Wait(t, 20*time.Second, "Prometheus has seen one with the stream, and one that stands by", func() bool {
		const seen = `up{job="posthorn"} == 1 and on (instance) count_over_time(up[1m]) > 5`
		return len(asked.query(t, seen)) == 2 && len(asked.query(t, seen+` and on (instance) posthorn_component_up == 1 and on (instance) posthorn_lease_held == 1`)) == 1
	})
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m").Replace(target.Expr)
			if len(asked.query(t, expr)) == 0 {
				t.Errorf("%q shows nothing: %s", panel.Title, expr)
			}
		}
	}
	asked.wantQuiet(t)
}

// A prometheusServer is Debian's, with the configuration that the documentation has.
type prometheusServer struct{ url string }

// startPrometheus runs it for the length of the test, to watch those.
func startPrometheus(t *testing.T, watched ...*posthorn) prometheusServer {
	t.Helper()
	page := readText(t, "../../docs/operating.md")
	config := regexp.MustCompile("(?ms)^```yaml\n(# /etc/prometheus/prometheus.yml\n.*?)^```$").FindStringSubmatch(page)
	if config == nil {
		t.Fatal("docs/operating.md has no configuration of Prometheus")
	}
	rules, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, h := range watched {
		targets = append(targets, strings.TrimPrefix(h.MetricsURL, "http://"))
	}
	text := config[1]
	for _, r := range [][2]string{{"/etc/prometheus/posthorn.yaml", rules}, {"localhost:9288", strings.Join(targets, `", "`)}} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("the configuration has no %s", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	dir, listen := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte("global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &lines{t: t}
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen)
	cmd.Stderr = log
	process, err := xmpptest.StartProcess(cmd)
	if err != nil {
		t.Fatalf("prometheus, of Debian's package of that name: %v", err)
	}
	t.Cleanup(func() {
		if err := process.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Prometheus's log:\n%s", log)
		}
	})
	xmpptest.Wait(t, 15*time.Second, "Prometheus listens", func() bool { return xmpptest.Accepts(listen) })
	return prometheusServer{"http://" + listen}
}

// query gives what an expression is now.
func (p prometheusServer) query(t *testing.T, expr string) []any {
	t.Helper()
	var data struct{ Result []any }
	p.get(t, "/api/v1/query?query="+url.QueryEscape(expr), &data)
	return data.Result
}

// wantQuiet waits until every rule was evaluated and none is about to fire.
func (p prometheusServer) wantQuiet(t *testing.T) {
	t.Helper()
	var states []string
	defer func() {
		if t.Failed() {
			t.Logf("rules that are not quiet: %q", states)
		}
	}()
	xmpptest.Wait(t, 10*time.Second, "every rule is quiet", func() bool {
		var rules struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, State string }
			}
		}
		p.get(t, "/api/v1/rules", &rules)
		states = nil
		for _, group := range rules.Groups {
			for _, r := range group.Rules {
				if r.Health != "ok" || r.State != "inactive" {
					states = append(states, r.Name+": "+r.State+" "+r.Health+" "+r.LastError)
				}
			}
		}
		return len(rules.Groups) == 1 && len(states) == 0
	})
}

// get reads what the API answers; nothing while it is not ready.
func (p prometheusServer) get(t *testing.T, path string, data any) {
	t.Helper()
	response, err := http.Get(p.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", path, err, answer.Error)
	}
}
