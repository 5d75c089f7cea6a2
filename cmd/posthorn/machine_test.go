package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// A machine is one as the pages have in mind: an XMPP server with the accounts
// me@example.com and user@example.com, and a root shell. Its files are in a directory of
// its own, and its addresses others.
type machine struct {
	t      *testing.T
	server *xmpptest.Server
	URL    string
	dir    string // holds etc
	env    []string
	words  []string // old and new ones, in commands and files
	log    *lines

	mu      sync.Mutex
	service *xmpptest.Process // posthorn's, guarded by mu
}

// newMachine has a server that knows nothing of posthorn.
func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), log: &lines{t: t}}
	for _, server := range servers {
		if server.name == name {
			m.server = server.start(t, xmpptest.NoComponent)
		}
	}
	m.server.Users(t, password, "me@example.com", "user@example.com")
	listen := fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
	m.URL = "http://" + listen
	etc := filepath.Join(m.dir, "etc/posthorn")
	if err := os.MkdirAll(etc, 0o700); err != nil {
		t.Fatal(err)
	}
	control := httptest.NewServer(http.HandlerFunc(m.systemctl))
	t.Cleanup(control.Close)
	m.words = []string{
		"http://localhost:5288", m.URL,
		"/etc/posthorn/", etc + "/",
		"/etc/prosody/prosody.cfg.lua", m.server.Config,
		"/etc/prosody/conf.d/posthorn.cfg.lua", filepath.Join(m.server.Dir, "posthorn.cfg.lua"),
		"/etc/ejabberd/posthorn.yml", filepath.Join(m.server.Dir, "posthorn.yml"),
		"- domain: example.com\n", fmt.Sprintf("- {domain: example.com, address: %q, ca_file: %s}\n", m.server.ClientAddress, m.server.CAFile),
		"-u me@example.com ", "-u me@example.com:" + password + " ", // curl would ask for it
	}
	m.env = append(os.Environ(),
		"CONTROL="+control.URL, "HOME="+m.dir, hurry,
		"POSTHORN_COMPONENT_ADDRESS="+m.server.ComponentAddress, "POSTHORN_HTTP_LISTEN="+listen, "POSTHORN_METRICS_LISTEN=",
		"POSTHORN_STORE=sqlite:"+filepath.Join(m.dir, "posthorn.db"))
	t.Cleanup(m.end)
	return m
}

// end stops the service, and shows its log where something failed.
func (m *machine) end() {
	if err := m.act("stop", "posthorn"); err != nil {
		m.t.Error(err)
	}
	if m.t.Failed() {
		m.t.Logf("posthorn's log:\n%s", m.log)
	}
	if strings.Contains(m.log.String(), password) {
		m.t.Error("a password stands in posthorn's log")
	}
}

// installed is a machine on which README.md has been followed.
func installed(t *testing.T, name string) *machine {
	t.Helper()
	m := newMachine(t, name)
	var yaml string
	for _, b := range blocks(t, "README.md") {
		if path := b.mark("file"); path != "" {
			yaml += write(path, b.text)
		}
	}
	lines := map[string]string{
		"Prosody":  "posthorn server-config prosody > /etc/prosody/conf.d/posthorn.cfg.lua\nsystemctl restart prosody\n",
		"ejabberd": "posthorn server-config ejabberd > /etc/ejabberd/posthorn.yml\nsystemctl restart ejabberd\n",
	}
	m.run(yaml + lines[name] + "systemctl start posthorn\n")
	return m
}

// write is the command that writes a file.
func write(path, text string) string {
	return "cat > " + path + " <<'END OF FILE'\n" + text + "END OF FILE\n"
}

// follow does what a page says: its files are written and its commands run, in order.
// Each of change is an old and a new text of those.
func (m *machine) follow(page string, change ...string) (output string) {
	m.t.Helper()
	var script strings.Builder
	for _, b := range blocks(m.t, page) {
		switch path := b.mark("file"); {
		case b.needs() != "":
		case path != "":
			script.WriteString(write(path, b.text))
		case b.isCommand():
			script.WriteString(b.text)
		}
	}
	if script.Len() == 0 {
		m.t.Fatalf("%s has no commands", page)
	}
	text := script.String()
	for i := 0; i+1 < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			m.t.Fatalf("%s has no %q", page, change[i])
		}
		text = strings.ReplaceAll(text, change[i], change[i+1])
	}
	return m.run(text)
}

// prelude stands in for what a machine has: a status other than 2xx ends the commands, as
// any failure does, and services are the machine's own.
const prelude = `set -euo pipefail
curl() { command curl --fail-with-body --silent --show-error --max-time 30 "$@" && echo; }
sudo() { [ "$1" != -u ] || shift 2; "$@"; }
chown() { :; }
systemctl() { command curl --fail-with-body --silent --show-error --data "$*" "$CONTROL"; }
`

// run runs commands in the directory of posthorn's configuration, and gives what they
// print.
func (m *machine) run(commands string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	script := prelude + strings.NewReplacer(m.words...).Replace(commands)
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = filepath.Join(m.dir, "etc/posthorn"), m.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("%v: %s\n%s\nof\n%s", err, errs.String(), out, script)
	}
	return string(out)
}

// systemctl answers for the command of that name.
func (m *machine) systemctl(w http.ResponseWriter, r *http.Request) {
	line, err := io.ReadAll(r.Body)
	words := strings.Fields(string(line))
	if err != nil || len(words) == 0 {
		http.Error(w, "systemctl: no command", http.StatusInternalServerError)
		return
	}
	for _, word := range words[1:] {
		if !strings.HasPrefix(word, "-") {
			err = errors.Join(err, m.act(words[0], word))
		}
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("systemctl %s: %v", line, err), http.StatusInternalServerError)
	}
}

// act does what systemd would do to a service.
func (m *machine) act(verb, service string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, start := m.server.Stop, m.startServer
	switch service {
	case "posthorn":
		stop, start = m.stopPosthorn, m.startPosthorn
	case "prosody", "ejabberd":
	default:
		return fmt.Errorf("there is no service %s", service)
	}
	switch verb {
	case "stop":
		return stop()
	case "start", "enable":
		return start()
	case "restart":
		return errors.Join(stop(), start())
	}
	return fmt.Errorf("a machine knows no %s", verb)
}

func (m *machine) startServer() error {
	if err := m.server.Start(); err != nil {
		return err
	}
	return within(20*time.Second, "no port for components", func() bool { return xmpptest.Accepts(m.server.ComponentAddress) })
}

func (m *machine) stopPosthorn() error {
	if m.service == nil {
		return nil
	}
	service := m.service
	m.service = nil
	return service.Stop()
}

// startPosthorn returns when messages can be sent.
func (m *machine) startPosthorn() error {
	if m.service != nil {
		return nil
	}
	cmd := exec.Command("posthorn", "serve")
	cmd.Dir, cmd.Env, cmd.Stderr = filepath.Join(m.dir, "etc/posthorn"), m.env, m.log
	var err error
	if m.service, err = xmpptest.StartProcess(cmd); err != nil {
		return err
	}
	return within(20*time.Second, "posthorn is not ready", (&posthorn{URL: m.URL}).sends)
}

// within waits for cond, and says what did not come.
func within(timeout time.Duration, otherwise string, cond func() bool) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, errors.New(otherwise))
	defer cancel()
	return xmpptest.Poll(ctx, cond)
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
