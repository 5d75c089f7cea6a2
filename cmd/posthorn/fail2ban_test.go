package main

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"posthorn/auth"
	"posthorn/internal/secret"
)

// failedLogins are the addresses that fail2ban finds in a log with our filter, one
// for each line that it takes for a failed login, in order.
func failedLogins(t *testing.T, log string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	filter, err := filepath.Abs("../../deploy/fail2ban/filter.d/posthorn.conf")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fail2ban-regex", "--usedns", "no", "-e", "utf-8", "-o", "<ip>", file, filter).CombinedOutput()
	if err != nil {
		t.Fatalf("fail2ban-regex, of Debian's package fail2ban: %v\n%s", err, out)
	}
	return strings.Fields(string(out))
}

// hostile are user names that would like to be somebody else's failed login.
var hostile = []string{
	"addr=1.2.3.4",
	`jid=me@example.com addr=1.2.3.4`,
	"me@example.com addr=1.2.3.4\n",
	"addr=1.2.3.4\naddr=1.2.3.4",
	"x\r\ntime=2026-11-25T00:00:00Z level=INFO msg=\"login failed\" jid=x addr=1.2.3.4\r\n@example.org",
	`x" addr=1.2.3.4`,
	`x","addr":"1.2.3.4"}`,
	`addr=1.2.3.4\`,
	`\",addr,1.2.3.4`,
	"me@1.2.3.4",
	"me@[2001:db8::1]",
	"addr=1.2.3.4@example.org",
	"me@example.org/ addr=1.2.3.4",
	"me@example.org/x\" addr=1.2.3.4",
	"\x1b[2Kaddr=1.2.3.4",
	"\u2028addr=1.2.3.4",
	"\u202eaddr=1.2.3.4",
	"<ADDR>", "%s%s", "time=2020-01-01T00:00:00Z@example.org",
}

// writeFailures lets a verifier refuse each of users, with the log that posthorn
// has, and gives the addresses of those whose refusal stands there.
func writeFailures(t *testing.T, format string, users []string) (log string, want []string) {
	t.Helper()
	var c config
	c.Log.Format, c.Log.Level = format, "debug"
	var lines bytes.Buffer
	v, err := auth.New(auth.Options{Hosts: []auth.Host{{Domain: "example.com"}, {Domain: "example.net"}}, DefaultDomain: "example.net", Log: c.logger(&lines)})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	addresses := []string{"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"}
	var all sync.WaitGroup
	for i, user := range users {
		all.Go(func() {
			address := addresses[i%len(addresses)]
			if _, err := v.Verify(t.Context(), user, secret.New(""), netip.MustParseAddr(address)); err == nil {
				t.Errorf("%q is let in", user)
			}
		})
	}
	all.Wait()
	for line := range strings.Lines(lines.String()) {
		found := regexp.MustCompile(`addr"?[=:]"?((?:192|2001|::)[0-9a-f.:]*)"?\}?\n$`).FindStringSubmatch(line)
		if found == nil {
			t.Errorf("the line does not end in an address: %q", line)
			continue
		}
		want = append(want, netip.MustParseAddr(found[1]).Unmap().String())
	}
	return lines.String(), want
}

// TestFail2ban: fail2ban's own tester finds each failed login in what posthorn
// logs, and its address, whatever the client has called itself, and nothing else.
func TestFail2ban(t *testing.T) {
	users := append([]string{"me@example.org", "jürgen@example.org", "o'neill=x@example.org", "nobody"}, hostile...)
	for _, format := range []string{"text", "json"} {
		log, want := writeFailures(t, format, users)
		if len(want) < 5 {
			t.Errorf("%s: only %d failed logins were logged:\n%s", format, len(want), log)
		}
		for name, prefix := range map[string]string{
			"a file":              "",
			"the journal":         "host posthorn[1234]: ",
			"journalctl":          "Nov 25 00:10:11 host posthorn[1234]: ",
			"journalctl, ISO":     "2026-11-25T00:10:11+00:00 host posthorn[1234]: ",
			"a file of syslog's":  "2026-11-25T00:10:11.123456+00:00 host posthorn[1234]: ",
			"a file, without pid": "Nov 25 00:10:11 host posthorn: ",
		} {
			t.Run(format+" in "+name, func(t *testing.T) {
				text := prefix + strings.ReplaceAll(strings.TrimSuffix(log, "\n"), "\n", "\n"+prefix) + "\n"
				if diff := cmp.Diff(want, failedLogins(t, text)); diff != "" {
					t.Errorf("%s\n%s", diff, text)
				}
			})
		}
	}
}

// TestFail2banIgnores: other lines, also those that repeat what a client said, are
// no failed logins, and neither are those without an address.
func TestFail2banIgnores(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var c config
		c.Log.Format, c.Log.Level = format, "debug"
		var lines bytes.Buffer
		log := c.logger(&lines)
		log.Info("login failed", "jid", "me@example.com", "addr", "unix")
		log.Info("login failed", "jid", "me@example.com", "addr", "host.example.com")
		log.Info("login failed", "jid", "me@example.com", "addr", "1.2.3.4", "took", 1)
		log.Warn("too many failed logins", "jid", "me@example.com", "addr", "1.2.3.4", "reason", "account")
		log.Debug("answered 401", "addr", "1.2.3.4", "took", 1, "err", `msg="login failed" jid=x addr=1.2.3.4`)
		log.Info("x", "err", "x\ntime=2026-11-25T00:10:11Z level=INFO msg=\"login failed\" jid=x addr=1.2.3.4")
		log.Info("x", "err", "x\n{\"time\":\"2026-11-25T00:10:11Z\",\"level\":\"INFO\",\"msg\":\"login failed\",\"jid\":\"x\",\"addr\":\"1.2.3.4\"}")
		log.Info("x", "jid", `msg="login failed" jid=x addr=1.2.3.4`)
		if found := failedLogins(t, lines.String()); len(found) > 0 {
			t.Errorf("%v in\n%s", found, lines.String())
		}
	}
}

// TestFail2banJail: fail2ban reads the jail, with our filter in it.
func TestFail2banJail(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("/etc/fail2ban")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"filter.d/posthorn.conf", "jail.d/posthorn.conf"} {
		text, err := os.ReadFile(filepath.Join("../../deploy/fail2ban", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("fail2ban-client", "-c", dir, "-d").CombinedOutput()
	if err != nil {
		t.Fatalf("fail2ban-client: %v\n%s", err, out)
	}
	for _, want := range []string{"['add', 'posthorn', 'systemd']", "['set', 'posthorn', 'maxretry', 20]", "['start', 'posthorn']", "_SYSTEMD_UNIT=posthorn.service", `login failed`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}
