package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// A desk is a person at a machine with posthorn, who does what the pages in docs/senders
// say.
type desk struct {
	*posthorn
	user  *xmpptest.Client // gets what is sent
	token string
	dir   string // where commands run, with send.yaml in it
}

func startDesk(t *testing.T) *desk {
	t.Helper()
	p := prosodyWithUsers(t, xmpptest.Options{})
	d := &desk{posthorn: startPosthorn(t, p, withStore(t)...).ready(t), user: p.MustLogin(t, "user@example.com", password), dir: t.TempDir()}
	made := d.mustPost(t, "/tokens", `{"name":"senders"}`, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
	var shown struct{ Token string }
	if err := json.Unmarshal([]byte(made.raw), &shown); err != nil || shown.Token == "" {
		t.Fatalf("no token: %d %s", made.status, made.raw)
	}
	d.token = shown.Token
	d.write(t, "send.yaml", "url: "+d.URL+"\njid: me@example.com\npassword: "+password+"\n", 0o600)
	return d
}

// page reads one, with this machine's addresses in the place of the page's.
func (d *desk) page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/senders/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("localhost:5288", strings.TrimPrefix(d.URL, "http://"), "TOKEN", d.token,
		"/etc/posthorn/send.yaml", "send.yaml", "/etc/zabbix/send.yaml", "send.yaml").Replace(string(text))
}

func (d *desk) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// run runs a script, with what fails in it an error. Programs that lie in the directory
// are found before others.
func (d *desk) run(t *testing.T, script string, args ...string) {
	t.Helper()
	const prelude = `PATH=$PWD:$PATH; curl() { command curl --silent --show-error --fail-with-body "$@"; };`
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-euo", "pipefail", "-c", prelude + script, "script"}, args...)...)
	cmd.Dir = d.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, script, out)
	}
}

// textsIn gives what stands on a page in blocks of a language.
func textsIn(t *testing.T, page, language string) (texts []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		texts = append(texts, m[1])
	}
	if len(texts) == 0 {
		t.Fatalf("the page has nothing in %s", language)
	}
	return texts
}

// TestSenderCommands: the commands on the pages send what they say.
func TestSenderCommands(t *testing.T) {
	d := startDesk(t)
	for page, want := range map[string][]string{
		"apprise.md": {"🟡 Disk full\nsda1 at 98%\nsecond line", "a text without a title"},
		"slack.md":   {"backup: All done in 4 minutes 🎉\nin 4 minutes: https://example.org/log"},
		"ntfy.md":    {"❗ ⚠️ Backup: disk full\nTags: nas", "🎉 Backup: done", "apprise.yml\nsend.yaml"},
		"gotify.md":  {"❗ Backup: disk full"},
		"json.md":    {"🟢 Backup: finished in 14 min", "Backup: finished"},
	} {
		t.Run(page, func(t *testing.T) {
			text := d.page(t, page)
			d.write(t, "apprise.yml", textsIn(t, d.page(t, "apprise.md"), "yaml")[0], 0o600)
			for _, script := range textsIn(t, text, "sh") {
				d.run(t, script)
			}
			for _, body := range want {
				expect(t, d.user, "me@example.com", body)
			}
		})
	}
}

// TestAppriseAddresses: what comes of each address is what the page says.
func TestAppriseAddresses(t *testing.T) {
	d := startDesk(t)
	page := d.page(t, "apprise.md")
	command := regexp.MustCompile("What comes of `(apprise .*)`:").FindStringSubmatch(page)
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+://[^`]*)` \\| ([^|]*) \\|$").FindAllStringSubmatch(page, -1)
	if command == nil || len(rows) < 6 {
		t.Fatalf("the page has no command, or no addresses: %q, %q", command, rows)
	}
	for _, row := range rows {
		address, want := row[1], row[2]
		t.Run(address[:strings.IndexByte(address, ':')], func(t *testing.T) {
			d.run(t, command[1]+` "$1"`, address)
			body, subject, _ := strings.Cut(want, ", with the subject ")
			if got := expect(t, d.user, "me@example.com", body); got.Subject != strings.Trim(subject, "*") {
				t.Errorf("the subject is %q, want %q", got.Subject, subject)
			}
		})
	}
}

// TestAppriseRefused: Apprise notices what is not sent.
func TestAppriseRefused(t *testing.T) {
	d := startDesk(t)
	host := strings.TrimPrefix(d.URL, "http://")
	for _, address := range []string{
		"json://me%40example.com:wrong@" + host + "/hook/json/user",
		"gotify://" + host + "/hook/gotify/user/" + d.token[:len(d.token)-1],
		"mmost://" + host + "/hook/slack/user/wrong",
		"ntfy://me%40example.com:wrong@" + host + "/user",
		"ntfy://me%40example.com:" + password + "@" + host + "/user?delay=30min",
		"json://me%40example.com:" + password + "@" + host + "/hook/json/nobody",
	} {
		if out, err := exec.Command("apprise", "-t", "a", "-b", "b", address).CombinedOutput(); err == nil {
			t.Errorf("%s: %s", address, out)
		}
	}
}

// TestSlackSender: the real Alertmanager tells posthorn as it would tell Slack, configured
// as the page says.
func TestSlackSender(t *testing.T) {
	d := startDesk(t)
	config := strings.Replace(textsIn(t, d.page(t, "slack.md"), "yaml")[0], "receiver: posthorn\n", "receiver: posthorn\n  group_wait: 10ms\n  group_interval: 1s\n", 1)
	a := runAlertmanager(t, config)
	down := instanceDown()
	a.tell(t, down)
	expectLine(t, d.user, "🔴 Alertmanager: [FIRING:1] (InstanceDown C:\\ \"ä + b\" web-1:9100 critical)\n"+a.URL+"/#/alerts?receiver=posthorn")
	down.EndsAt = down.StartsAt.Add(time.Minute)
	a.tell(t, down)
	expectLine(t, d.user, "🟢 Alertmanager: [RESOLVED] (InstanceDown ")
}

// TestNetdata: its own test of notifications arrives, configured as the page says.
func TestNetdata(t *testing.T) {
	d := startDesk(t)
	d.write(t, "health_alarm_notify.conf", textsIn(t, d.page(t, "slack.md"), "conf")[0], 0o600)
	const script = "/usr/lib/netdata/plugins.d/alarm-notify.sh"
	d.run(t, "NETDATA_USER_CONFIG_DIR=$PWD NETDATA_CACHE_DIR=$PWD NETDATA_HOST_TAGS= "+script+" test")
	for _, want := range []string{"🟡 netdata on ", "🔴 netdata on ", "🟢 netdata on "} {
		expectLine(t, d.user, want)
	}
}

// TestSenderScripts: what the page has for tools that call a program.
func TestSenderScripts(t *testing.T) {
	d := startDesk(t)
	page := d.page(t, "README.md")
	scripts := textsIn(t, page, "sh")
	if len(scripts) != 3 {
		t.Fatalf("the page has other scripts than these tests know: %q", scripts)
	}
	d.run(t, scripts[0])
	first := expect(t, d.user, "me@example.com", "disk full\n")
	if host, err := os.Hostname(); err != nil || first.Subject != host {
		t.Errorf("the subject is %q, %v", first.Subject, err)
	}
	expect(t, d.user, "me@example.com", "disk full")

	d.write(t, "smartd-tells", scripts[1], 0o700)
	d.run(t, `SMARTD_SUBJECT="SMART error (Health) on db-1" SMARTD_ADDRESS=user@example.com SMARTD_MESSAGE="-- Device: /dev/sda, FAILED" smartd-tells`)
	if got := expect(t, d.user, "me@example.com", "-- Device: /dev/sda, FAILED"); got.Subject != "SMART error (Health) on db-1" {
		t.Errorf("smartd's subject is %q", got.Subject)
	}

	d.write(t, "alert", scripts[2], 0o700)
	d.run(t, `alert "$@"`, "user@example.com", "Problem: a & b", "-5 °C in $room\nsecond line")
	if got := expect(t, d.user, "me@example.com", "-5 °C in $room\nsecond line"); got.Subject != "Problem: a & b" {
		t.Errorf("Zabbix's subject is %q", got.Subject)
	}
}

// TestSenderCrontab: what a job prints is sent, and else nothing.
func TestSenderCrontab(t *testing.T) {
	d := startDesk(t)
	line := regexp.MustCompile(`(?m)^0 3 \* \* \*  root  (.*)$`).FindStringSubmatch(textsIn(t, d.page(t, "README.md"), "crontab")[0])
	if line == nil || strings.Contains(line[1], "%") { // which would be a line's end to cron
		t.Fatalf("no line for cron: %q", line)
	}
	command := "set +e; " + strings.ReplaceAll(line[1], "/usr/local/bin/backup", "backup") // as cron's shell
	d.write(t, "backup", "#!/bin/sh\n", 0o700)
	d.run(t, command)
	d.write(t, "backup", "#!/bin/sh\necho one; echo two >&2; exit 1\n", 0o700)
	d.run(t, command)
	if got := expect(t, d.user, "me@example.com", "one\ntwo\n"); got.Subject != "backup" {
		t.Errorf("the subject is %q", got.Subject)
	}
}

// TestSenderUnit: systemd takes the units, and what they run sends.
func TestSenderUnit(t *testing.T) {
	d := startDesk(t)
	units := textsIn(t, d.page(t, "README.md"), "ini")
	d.write(t, "tell@.service", units[0], 0o600)
	d.write(t, "backup.service", units[1]+"[Service]\nExecStart=/bin/true\n", 0o600)
	for _, unit := range []string{"tell@backup.service", "backup.service"} {
		cmd := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "./"+unit)
		cmd.Dir = d.dir
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
	command := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(units[0])
	if command == nil {
		t.Fatal("the unit runs nothing")
	}
	d.write(t, "systemctl", "#!/bin/sh\necho \"× $5: it has failed\"\nexit 3\n", 0o700)
	d.run(t, strings.ReplaceAll(command[1], "%i", "backup.service"))
	if got := expect(t, d.user, "me@example.com", "× backup.service: it has failed\n"); got.Subject != "backup.service has failed" {
		t.Errorf("the subject is %q", got.Subject)
	}
}

// TestSenderBan: fail2ban takes the action, and what it runs sends.
func TestSenderBan(t *testing.T) {
	d := startDesk(t)
	files := textsIn(t, d.page(t, "README.md"), "ini")[2:]
	config := filepath.Join(d.dir, "fail2ban")
	if err := os.CopyFS(config, os.DirFS("/etc/fail2ban")); err != nil {
		t.Fatal("of Debian's package fail2ban:", err)
	}
	d.write(t, "log", "", 0o600)
	d.write(t, "fail2ban/action.d/posthorn.conf", files[0], 0o600)
	d.write(t, "fail2ban/jail.local", files[1]+"[sshd]\nenabled = true\nbackend = polling\nlogpath = "+filepath.Join(d.dir, "log")+"\n", 0o600)
	out, err := exec.Command("fail2ban-client", "-c", config, "--dp").CombinedOutput()
	action := regexp.MustCompile(`'actionban', '(posthorn [^']*)'`).FindSubmatch(out)
	if err != nil || action == nil || !strings.Contains(string(out), "'to', 'user@example.com'") {
		t.Fatalf("%v\n%s", err, out)
	}
	d.run(t, strings.NewReplacer("<to>", "user@example.com", "<name>", "sshd", "<ip>", "192.0.2.7", "<failures>", "5").Replace(string(action[1])))
	expect(t, d.user, "me@example.com", "sshd banned 192.0.2.7 after 5 failures")
}
