package packages_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/xmpptest"
)

const (
	configuration = "/etc/posthorn/posthorn.yaml"
	password      = "mypassword"
)

// testDebLife: the deb is installed, configured, upgraded, removed and purged.
func testDebLife(t *testing.T, old, renewed packages) {
	m := newMachine(t)
	s := &site{machine: m, server: prosody(t)}

	m.run(t, "dpkg", "--install", m.bring(t, old.deb))
	s.wantAsked(t, "systemctl daemon-reload", "deb-systemd-invoke try-restart posthorn.service")
	s.wantFresh(t)
	s.configure(t)
	s.wantSends(t, oldVersion)
	configured := m.run(t, "cat", configuration)

	m.run(t, "dpkg", "--install", m.bring(t, renewed.deb))
	s.wantAsked(t, "systemctl daemon-reload", "deb-systemd-invoke try-restart posthorn.service")
	if diff := cmp.Diff(configured, m.run(t, "cat", configuration)); diff != "" {
		t.Errorf("the upgrade changed the configuration:\n%s", diff)
	}
	s.wantOwned(t, "640 root posthorn", configuration)
	s.wantSends(t, renewedVersion)

	m.run(t, "dpkg", "--remove", "posthorn")
	s.wantAsked(t, "deb-systemd-invoke stop posthorn.service posthorn.socket", "systemctl --no-reload --quiet disable posthorn.service posthorn.socket", "systemctl daemon-reload")
	s.wantGone(t, "/usr/bin/posthorn", "/usr/lib/systemd/system/posthorn.service")
	s.wantOwned(t, "640 root posthorn", configuration)
	s.wantOwned(t, "600 posthorn posthorn", "/var/lib/posthorn/posthorn.db")

	m.run(t, "dpkg", "--install", m.bring(t, renewed.deb))
	s.wantSends(t, renewedVersion)

	m.run(t, "dpkg", "--purge", "posthorn")
	s.wantGone(t, configuration, "/var/lib/posthorn", "/usr/share/doc/posthorn")
	s.wantOwned(t, "644 root root", authority) // the administrator's own
	m.run(t, "id", "posthorn")
}

// testRPMLife: the same by rpm, as far as a Debian can: rpm installs into it, and its
// scripts run there. What the package depends on is Fedora's to know.
func testRPMLife(t *testing.T, old, renewed packages) {
	m := newMachine(t)
	s := &site{machine: m, server: prosody(t)}
	rpm := func(args ...string) {
		t.Helper()
		m.outside(t, furnished+`exec rpm --root "$0" --nodeps "$@"`, args...)
	}

	rpm("--install", old.rpm)
	s.wantAsked(t, "systemctl daemon-reload")
	s.wantFresh(t)
	s.configure(t)
	s.wantSends(t, oldVersion)
	configured := m.run(t, "cat", configuration)

	rpm("--upgrade", renewed.rpm)
	s.wantAsked(t, "systemctl daemon-reload", "systemctl daemon-reload", "systemctl try-restart posthorn.service")
	if diff := cmp.Diff(configured, m.run(t, "cat", configuration)); diff != "" {
		t.Errorf("the upgrade changed the configuration:\n%s", diff)
	}
	s.wantOwned(t, "640 root posthorn", configuration)
	s.wantSends(t, renewedVersion)

	rpm("--erase", "posthorn")
	s.wantAsked(t, "systemctl --no-reload disable --now posthorn.service posthorn.socket", "systemctl daemon-reload")
	s.wantGone(t, "/usr/bin/posthorn", configuration)
	s.wantOwned(t, "640 root posthorn", configuration+".rpmsave")
	s.wantOwned(t, "600 posthorn posthorn", "/var/lib/posthorn/posthorn.db")
	m.run(t, "id", "posthorn")
}

// A site is a machine and the server that posthorn there is for.
type site struct {
	*machine
	server *xmpptest.Server
	url    string
}

func prosody(t *testing.T) *xmpptest.Server {
	t.Helper()
	p := xmpptest.StartProsody(t, xmpptest.Options{})
	p.Users(t, password, "me@example.com", "user@example.com")
	return &p.Server
}

func (s *site) wantAsked(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.asked(t)); diff != "" {
		t.Errorf("systemd was asked for something else:\n%s", diff)
	}
}

func (s *site) wantOwned(t *testing.T, want, path string) {
	t.Helper()
	if got := s.run(t, "stat", "--format=%a %U %G", path); got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

func (s *site) wantGone(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if out, err := s.try("ls", "-d", path); err == nil {
			t.Errorf("%s is there", out)
		}
	}
}

// wantFresh: what there is after an installation.
func (s *site) wantFresh(t *testing.T) {
	t.Helper()
	user := strings.Split(s.run(t, "getent", "passwd", "posthorn"), ":")
	if user[5] != "/var/lib/posthorn" || !strings.HasSuffix(user[6], "/nologin") {
		t.Errorf("the user is %q", user)
	}
	s.wantOwned(t, "700 posthorn posthorn", "/var/lib/posthorn")
	s.wantOwned(t, "640 root posthorn", configuration)
	s.run(t, "sh", "-c", "! ls /etc/systemd/system/*/posthorn.*") // it is not enabled
	s.wantVerified(t)
}

// wantVerified: systemd itself finds nothing wrong with the units, nor with where the
// program is.
func (s *site) wantVerified(t *testing.T) {
	t.Helper()
	if out := s.run(t, "systemd-analyze", "verify", "posthorn.service", "posthorn.socket"); strings.Contains(out, "posthorn") {
		t.Error(out)
	}
}

// authority is a file that an administrator adds.
const authority = "/etc/posthorn/ca.pem"

// configure does what the administrator does.
func (s *site) configure(t *testing.T) {
	t.Helper()
	ca, err := os.ReadFile(s.server.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, authority, string(ca))
	s.run(t, "chmod", "644", authority)
	listen := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	s.url = "http://" + listen
	text := s.run(t, "cat", configuration)
	for _, change := range [][2]string{
		{"#address: 127.0.0.1:5347", "address: " + s.server.ComponentAddress},
		{`#address: "" `, "address: " + s.server.ClientAddress + " "},
		{`#ca_file: "" `, "ca_file: " + authority + " "},
		{"#http:\n#  listen: [127.0.0.1:5288]", "http:\n  listen: [" + listen + "]"},
		{"#metrics:\n#  listen: 127.0.0.1:9288", "metrics:\n  listen: \"\""},
	} {
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("the configuration has not one %q:\n%s", change[0], text)
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	s.write(t, configuration, text+"\n")
	if out := s.run(t, "runuser", "-u", "posthorn", "--", "posthorn", "check"); strings.Contains(out, "FAIL") {
		t.Errorf("posthorn check says\n%s", out)
	}
}

// wantSends starts what the unit starts, as its user, and sends a message.
func (s *site) wantSends(t *testing.T, version string) {
	t.Helper()
	command := strings.Fields(s.run(t, "sed", "-n", "s/^ExecStart=//p", "/usr/lib/systemd/system/posthorn.service"))
	user := s.run(t, "sed", "-n", "s/^User=//p", "/usr/lib/systemd/system/posthorn.service")
	as := []string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--no-new-privs", "--bounding-set=-all", "env", "STATE_DIRECTORY=/var/lib/posthorn"}
	cmd := s.command(append(as, command...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	p, err := xmpptest.StartProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil || p.Err() != nil || t.Failed() {
			t.Errorf("stopped with %v, %v:\n%s", err, p.Err(), &log)
		}
	}()
	xmpptest.Wait(t, 20*time.Second, "posthorn is ready", func() bool {
		status, body := s.ask(http.MethodGet, "/readyz", "")
		return status == http.StatusOK && strings.Contains(body, `"stream":"up"`) && strings.Contains(body, version)
	})
	client := s.server.MustLogin(t, "user@example.com", password)
	defer client.Close()
	if status, body := s.ask(http.MethodPost, "/msg/user", "from "+version); status != http.StatusCreated {
		t.Fatalf("answer is %d %s", status, body)
	}
	if m := client.MustReceive(t); m.Body != "from "+version {
		t.Errorf("received %q", m.Body)
	}
}

func (s *site) ask(method, path, text string) (status int, body string) {
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(text))
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Content-Type", "text/plain")
	request.SetBasicAuth("me", password)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(raw)
}
