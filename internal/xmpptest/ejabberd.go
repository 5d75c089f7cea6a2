package xmpptest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// EjabberdOptions say in what the server differs from Debian's: one host,
// example.com, and deploy/ejabberd.yml as it stands.
type EjabberdOptions struct {
	Hosts            []string // default: Domain alone
	CertificateNames []string // default: the hosts; 127.0.0.1 is always there
	PlainPasswords   bool     // stored as they are, not as SCRAM hashes
	LogLevel         string   // default: info
	Clients          string   // a line of YAML more for the listeners for clients; default: as deploy/ejabberd.yml advises
	Fail2ban         string   // the options of mod_fail2ban, {} are Debian's; default: as deploy/ejabberd.yml advises
	Uploads          bool     // has an upload service (mod_http_upload), by HTTPS at UploadAddress
	UploadOptions    string   // a line of YAML for that; default: as deploy/ejabberd.yml advises

	Component []Edit // what becomes of deploy/ejabberd.yml, one after another
	Extra     string // YAML at the very end; lists and tables are added to those before
}

// An Ejabberd is the server of Debian's package ejabberd. Rooms are at
// rooms.example.com.
type Ejabberd struct {
	Server
	APIAddress string // host:port of mod_http_api, under /api: all that loopback asks, with credentials or without
}

// OpenEjabberd makes the directory and starts ejabberd in it. Close ends both.
//
// It is not started by ejabberdctl, which needs root, changes the user, and
// knows one server a machine. Without a node name Erlang needs no epmd, so
// servers stand beside each other, and each is one process whose helpers end
// with it.
func OpenEjabberd(o EjabberdOptions) (*Ejabberd, error) {
	if err := installed("erl"); err != nil {
		return nil, err
	}
	libraries, err := erlangLibraries()
	if err != nil {
		return nil, err
	}
	e := &Ejabberd{Server: Server{Name: "ejabberd", portTaken: "Failed to open socket"}}
	e.accounts = &httpAPI{Ejabberd: e}
	e.command = func() *exec.Cmd { return e.erl(libraries) }
	if err := e.open(func() error { return e.prepare(o) }); err != nil {
		return nil, err
	}
	return e, nil
}

// erlangLibraries is the directory that holds ejabberd, which depends on the
// machine's architecture.
func erlangLibraries() (string, error) {
	found, err := filepath.Glob("/usr/lib/*/ejabberd-*/ebin")
	if err != nil || len(found) == 0 {
		return "", errors.New("xmpptest: no ejabberd under /usr/lib: run `make deps`, or install the package ejabberd")
	}
	return filepath.Dir(filepath.Dir(found[0])), nil
}

// erl is what ejabberdctl runs, without a node name.
func (e *Ejabberd) erl(libraries string) *exec.Cmd {
	cmd := exec.Command("erl", "+K", "true", "+P", "250000", "-noinput",
		"-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(e.Dir, "data")), "-s", "ejabberd")
	cmd.Env = append(os.Environ(),
		"ERL_LIBS="+libraries, "ERL_MAX_PORTS=32000", "ERL_MAX_ETS_TABLES=1400", "ERL_CRASH_DUMP_BYTES=0", "HOME="+e.Dir,
		"EJABBERD_CONFIG_PATH="+e.Config, "EJABBERD_LOG_PATH="+filepath.Join(e.Dir, "ejabberd.log"))
	return cmd
}

// prepare writes everything that Start needs.
func (e *Ejabberd) prepare(o EjabberdOptions) error {
	if len(o.Hosts) == 0 {
		o.Hosts = []string{Domain}
	}
	names := o.CertificateNames
	if names == nil {
		names = o.Hosts
	}
	port, err := FreePort()
	if err != nil {
		return err
	}
	e.APIAddress = loopback(port)
	if err := e.certify(names); err != nil {
		return err
	}
	if err := o.takeAdvice(); err != nil {
		return err
	}
	lines, err := deployed("ejabberd.yml", o.Component)
	if err != nil {
		return err
	}
	e.listening = []string{e.ClientAddress, e.DirectTLSAddress, e.APIAddress}
	if o.Uploads {
		e.listening = append(e.listening, e.UploadAddress)
	}
	if strings.Contains(lines+o.Extra, "ejabberd_service") {
		e.listening = append(e.listening, e.ComponentAddress)
	}
	component, err := portOf(e.ComponentAddress)
	if err != nil {
		return err
	}
	lines = strings.Replace(lines, "port: 5347", "port: "+component, 1)
	e.Config = filepath.Join(e.Dir, "ejabberd.yml")
	return writeConfig(ejabberdConfig, e.Config, "posthorn.yml", lines, ejabberdValues{o, e})
}

// takeAdvice does what the comments in deploy/ejabberd.yml say about the rest
// of an administrator's configuration.
func (o *EjabberdOptions) takeAdvice() error {
	lines, err := deployed("ejabberd.yml", nil)
	if err != nil {
		return err
	}
	backlog := regexp.MustCompile(`(?m)^# (backlog: .*)$`).FindStringSubmatch(lines)
	exempt := regexp.MustCompile(`(?m)^# mod_fail2ban: (.*)$`).FindStringSubmatch(lines)
	access := regexp.MustCompile(`(?m)^# (access: .*)$`).FindStringSubmatch(lines)
	if backlog == nil || exempt == nil || access == nil {
		return errors.New("deploy/ejabberd.yml has no advice on backlog, mod_fail2ban and mod_http_upload")
	}
	o.UploadOptions = cmp.Or(o.UploadOptions, access[1])
	o.Clients = cmp.Or(o.Clients, backlog[1])
	o.Fail2ban = cmp.Or(o.Fail2ban, exempt[1])
	return nil
}

// httpAPI asks mod_http_api of a server that runs.
type httpAPI struct {
	*Ejabberd

	mu    sync.Mutex
	fresh []string // guarded by mu: keys of accounts that a crash might lose
}

// apiTimeout bounds one call. It takes milliseconds; the rest is for a busy
// machine.
const apiTimeout = 30 * time.Second

func (a *httpAPI) add(jid, password string) error {
	local, domain, _ := strings.Cut(jid, "@")
	a.mu.Lock()
	a.fresh = append(a.fresh, termOf(local)+termOf(domain))
	a.mu.Unlock()
	err := a.call("register", map[string]string{"user": local, "host": domain, "password": password})
	if errors.Is(err, errConflict) {
		err = a.call("change_password", map[string]string{"user": local, "host": domain, "newpass": password})
	}
	return err
}

func (a *httpAPI) remove(jid string) error {
	local, domain, _ := strings.Cut(jid, "@")
	return a.call("unregister", map[string]string{"user": local, "host": domain})
}

// settle waits for Mnesia, which keeps what it was given for up to two seconds
// before it writes it (Erlang 25, 2026-11), until the keys stand in its files.
func (a *httpAPI) settle() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(context.Background(), apiTimeout,
		fmt.Errorf("xmpptest: ejabberd has not written its accounts after %v", apiTimeout))
	defer cancel()
	for _, key := range a.fresh {
		if err := Poll(ctx, func() bool { return a.onDisk(key) }); err != nil {
			return err
		}
	}
	a.fresh = nil
	return nil
}

// termOf is a binary in Erlang's external term format, as Mnesia stores it.
func termOf(text string) string {
	return "m" + string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
}

func (a *httpAPI) onDisk(key string) bool {
	for _, name := range []string{"passwd.DAT", "LATEST.LOG"} {
		text, err := os.ReadFile(filepath.Join(a.Dir, "data", name))
		if err == nil && bytes.Contains(text, []byte(key)) {
			return true
		}
	}
	return false
}

var errConflict = errors.New("it is there already")

func (a *httpAPI) call(command string, arguments map[string]string) error {
	body, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.APIAddress+"/api/"+command, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Close = true // so that no connection outlives the call
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("xmpptest: ejabberd's %s: %w", command, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	switch response.StatusCode {
	case http.StatusOK:
		return err
	case http.StatusConflict:
		err = errConflict
	}
	return errors.Join(fmt.Errorf("xmpptest: ejabberd's %s: %s: %s", command, response.Status, text), err)
}
