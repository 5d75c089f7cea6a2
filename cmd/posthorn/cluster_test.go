package main

import (
	"bytes"
	"crypto/tls"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/internal/pgtest"
	"posthorn/internal/xmpptest"
)

// A cluster is what deploy/cluster describes, on this machine.
type cluster struct {
	server    *xmpptest.Server
	postgres  *pgtest.Server
	database  string // its URL, not by a proxy
	instances [2]*instance
	front     *posthorn // by HAProxy, whose process it is
	admin     string    // HAProxy's socket for administrators
}

// An instance is one of the posthorns. Its connections to the database and to the XMPP
// server pass proxies of its own.
type instance struct {
	*posthorn
	name                 string // as HAProxy calls it
	toDatabase, toServer *xmpptest.Proxy
}

// startCluster starts the files in deploy/cluster, for the length of the test. change may
// give the XMPP server more than they do.
func startCluster(t *testing.T, change ...func(*xmpptest.Options)) *cluster {
	t.Helper()
	c := &cluster{}
	c.startPostgreSQL(t)
	c.startProsody(t, change...)
	for i, name := range []string{"one", "two"} {
		c.instances[i] = c.startInstance(t, name)
	}
	c.startHAProxy(t)
	c.ready(t)
	return c
}

// ofCluster is a file of the example with some of its texts replaced.
func ofCluster(t *testing.T, name string, oldAndNew ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/cluster", name))
	if err != nil {
		t.Fatal(err)
	}
	return replaceAll(t, string(text), oldAndNew...)
}

func (c *cluster) startPostgreSQL(t *testing.T) {
	t.Helper()
	c.postgres = pgtest.Start(t, pgtest.Options{
		Settings: strings.Split(ofCluster(t, "postgresql.conf", "/etc/postgresql/15/main/posthorn.", "server."), "\n"),
		Access:   strings.Split(ofCluster(t, "pg_hba.conf", "10.0.0.1/32", "127.0.0.1/32", "10.0.0.2/32", "127.0.0.1/32"), "\n"),
	})
	statements := strings.SplitAfter(ofCluster(t, "postgresql.sql"), ";\n")
	if err := c.postgres.Do("", statements[:len(statements)-1]...); err != nil {
		t.Fatal(err)
	}
	c.database = c.databaseAt(t, c.postgres.Address)
}

// databaseAt is the store of posthorn.yaml, at another address.
func (c *cluster) databaseAt(t *testing.T, address string) string {
	t.Helper()
	_, line, _ := strings.Cut(ofCluster(t, "posthorn.yaml"), "\nstore: ")
	line, _, _ = strings.Cut(line, "\n")
	return pgtest.MustAt(t, strings.Replace(line, "/etc/posthorn/postgresql.crt", c.postgres.CAFile, 1), address)
}

func (c *cluster) startProsody(t *testing.T, change ...func(*xmpptest.Options)) {
	t.Helper()
	lines := ofCluster(t, "prosody.cfg.lua", `, "10.0.0.4"`, "")
	o := keepsAll
	o.Component = []xmpptest.Edit{func(string) (string, error) { return lines, nil }}
	for _, change := range change {
		change(&o)
	}
	c.server = prosodyWithUsers(t, o)
	c.server.Users(t, password, "you@example.com")
}

// startInstance starts a posthorn, with nothing else in its environment than what lets
// two of them be on one machine and be tested.
func (c *cluster) startInstance(t *testing.T, name string) *instance {
	t.Helper()
	i := &instance{name: name, toDatabase: xmpptest.StartProxy(t, c.postgres.Address), toServer: xmpptest.StartProxy(t, c.server.ComponentAddress)}
	listen, metrics := freeAddress(t), freeAddress(t)
	i.posthorn = &posthorn{
		URL: "http://" + listen, MetricsURL: "http://" + metrics, Config: filepath.Join(t.TempDir(), "posthorn.yaml"),
		command: []string{"posthorn"}, expected: expected["Prosody"], log: &lines{t: t},
		env: []string{"POSTHORN_METRICS_LISTEN=" + metrics, "POSTHORN_LIMITS_MESSAGES_PER_SECOND=0"},
	}
	config := ofCluster(t, "posthorn.yaml",
		"10.0.0.4:5347", i.toServer.Address,
		"- domain: example.com ", fmt.Sprintf("- {domain: example.com, address: %q, ca_file: %s}", c.server.ClientAddress, c.server.CAFile),
		`[":5288"]`, fmt.Sprintf("[%q]", listen),
		"[10.0.0.5]", "[127.0.0.1]")
	before, _, _ := strings.Cut(config, "\nstore: ")
	i.run(t, before+"\nstore: "+c.databaseAt(t, i.toDatabase.Address)+"\n")
	return i
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", xmpptest.MustFreePort(t))
}

// haproxyOwn comes before the lines of the example, in place of what Debian's file has:
// nothing of the machine is used but the program.
const haproxyOwn = `global
	log stderr format raw local0
	stats socket %s level admin
defaults
	log global
	option httplog
`

func (c *cluster) startHAProxy(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	c.admin = filepath.Join(dir, "admin.sock")
	listen := freeAddress(t)
	config := ofCluster(t, "haproxy.cfg",
		"10.0.0.1:5288", c.instances[0].address(),
		"10.0.0.2:5288", c.instances[1].address(),
		"bind :443", "bind "+listen,
		"/etc/haproxy/post.example.org.pem", c.certify(t, dir, "post.example.org"))
	file := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, file, fmt.Sprintf(haproxyOwn, c.admin)+config)
	c.front = &posthorn{URL: "https://" + listen, expected: expected["Prosody"], log: &lines{t: t}, client: c.trusting(t, "127.0.0.1")}
	c.front.Process = runHAProxy(t, file, c.front.log)
	xmpptest.Wait(t, 10*time.Second, "HAProxy listens", func() bool {
		_, err := os.Stat(c.admin) // it is there a moment after the port
		return err == nil && c.front.listens()
	})
}

// runHAProxy runs it with a configuration for the length of the test.
func runHAProxy(t *testing.T, file string, log *lines) *xmpptest.Process {
	t.Helper()
	cmd := exec.Command("/usr/sbin/haproxy", "-db", "-f", file)
	cmd.Stderr = log
	p, err := xmpptest.StartProcess(cmd)
	if err != nil {
		t.Fatalf("HAProxy, of Debian's package of that name: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("HAProxy's log:\n%s", log)
		}
	})
	return p
}

// certify writes a certificate and its key into one file, as HAProxy reads them.
func (c *cluster) certify(t *testing.T, dir, name string) (file string) {
	t.Helper()
	pair, err := c.server.CA.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	chain, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := xmpptest.WriteCertificate(pair, chain, key); err != nil {
		t.Fatal(err)
	}
	var both bytes.Buffer
	for _, part := range []string{chain, key} {
		text, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		both.Write(text)
	}
	file = filepath.Join(dir, name+".pem")
	writeFile(t, file, both.String())
	return file
}

// trusting is a client at an address of this machine that knows HAProxy by its name.
func (c *cluster) trusting(t *testing.T, address string) *http.Client {
	t.Helper()
	client := clientAt(t, address)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: c.server.CA.Pool(), ServerName: "post.example.org"}
	return client
}

// ready waits until messages can be sent by each way.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	for _, i := range c.instances {
		i.ready(t)
		xmpptest.Wait(t, 20*time.Second, "HAProxy uses "+i.name, func() bool { return c.uses(t, i) })
	}
	c.front.ready(t)
}

// uses reports whether HAProxy gives requests to the instance.
func (c *cluster) uses(t *testing.T, i *instance) bool {
	t.Helper()
	conn, err := net.Dial("unix", c.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "show stat\n")
	rows, err := csv.NewReader(conn).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	const name, status = 1, 17 // the columns
	for _, row := range rows {
		if row[name] == i.name {
			return strings.HasPrefix(row[status], "UP")
		}
	}
	t.Fatalf("HAProxy knows no %s", i.name)
	return false
}

// holder is the instance that has the stream, nil while none has.
func (c *cluster) holder(t *testing.T) *instance {
	t.Helper()
	for _, i := range c.instances {
		if i.listens() && i.metric(t, "posthorn_component_up") == 1 {
			return i
		}
	}
	return nil
}

// roles waits until one instance has the stream, and gives it and the other.
func (c *cluster) roles(t *testing.T) (holder, other *instance) {
	t.Helper()
	xmpptest.Wait(t, 20*time.Second, "one has the stream", func() bool { holder = c.holder(t); return holder != nil })
	return holder, c.other(holder)
}

// other is the one beside it.
func (c *cluster) other(i *instance) *instance {
	if i == c.instances[0] {
		return c.instances[1]
	}
	return c.instances[0]
}

// ways are the three by which a request may come.
func (c *cluster) ways() map[string]*posthorn {
	return map[string]*posthorn{"one": c.instances[0].posthorn, "two": c.instances[1].posthorn, "HAProxy": c.front}
}

// TestCluster: the example in deploy/cluster is one posthorn to who uses it, whichever
// instance is asked.
func TestCluster(t *testing.T) {
	c := startCluster(t)
	user := c.server.MustLogin(t, "user@example.com", password)
	t.Run("the same answers", func(t *testing.T) { c.answersAlike(t, user) })
	t.Run("keys", func(t *testing.T) { c.sharesKeys(t, user) })
	t.Run("tokens", func(t *testing.T) { c.sharesTokens(t, user) })
	t.Run("guesses", func(t *testing.T) { c.sharesGuesses(t) })
	t.Run("the client's address", func(t *testing.T) { c.tellsAddresses(t) })
	t.Run("a server that is away", func(t *testing.T) { c.keeps(t) })
}

func (c *cluster) answersAlike(t *testing.T, user *xmpptest.Client) {
	for name, h := range c.ways() {
		if a := h.mustPost(t, "/msg/user", "by "+name, nil); a.status != http.StatusCreated || a.Status != "delivered" {
			t.Errorf("by %s: %d %s", name, a.status, a.raw)
		}
		expect(t, user, "me@example.com", "by "+name)
		if a := h.mustPost(t, "/msg/ghost", "x", nil); a.status != http.StatusNotFound {
			t.Errorf("to nobody by %s: %d %s", name, a.status, a.raw)
		}
		if a := h.mustPost(t, "/msg/user,ghost", "to two by "+name, nil); a.status != http.StatusMultiStatus {
			t.Errorf("to two by %s: %d %s", name, a.status, a.raw)
		}
		expect(t, user, "me@example.com", "to two by "+name)
		for _, path := range []string{"/readyz", "/healthz"} {
			if a := h.mustGet(t, path); a.status != http.StatusOK || !strings.Contains(a.raw, `"stream":"up"`) || !strings.Contains(a.raw, `"store":"ok"`) {
				t.Errorf("%s by %s: %d %s", path, name, a.status, a.raw)
			}
		}
	}
}

// sharesKeys: a request with an idempotency key is sent once, whoever it is repeated at,
// and the outcome is known to all.
func (c *cluster) sharesKeys(t *testing.T, user *xmpptest.Client) {
	keyed := func(h *posthorn, text string) answer {
		return h.mustPost(t, "/msg/user", text, func(r *http.Request) { r.Header.Set("Idempotency-Key", "k1") })
	}
	first := keyed(c.instances[0].posthorn, "once")
	if first.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", first.status, first.raw)
	}
	for name, h := range c.ways() {
		if a := keyed(h, "once"); a.status != first.status || a.raw != first.raw {
			t.Errorf("again by %s: %d %s, want %s", name, a.status, a.raw, first.raw)
		}
		if a := keyed(h, "another"); a.status != http.StatusUnprocessableEntity {
			t.Errorf("another text by %s: %d %s", name, a.status, a.raw)
		}
		if a := h.mustGet(t, "/messages/"+first.ID); a.status != http.StatusOK || a.Status != "delivered" {
			t.Errorf("its outcome by %s: %d %s", name, a.status, a.raw)
		}
	}
	c.front.mustPost(t, "/msg/user", "after the key", nil)
	expect(t, user, "me@example.com", "once")
	expect(t, user, "me@example.com", "after the key")
}

// sharesTokens: one that was made at an instance is good at each, and one that was
// revoked at none, at once.
func (c *cluster) sharesTokens(t *testing.T, user *xmpptest.Client) {
	one, two := c.instances[0].posthorn, c.instances[1].posthorn
	made := one.mustPost(t, "/tokens", `{"name":"shared"}`, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
	var shown struct{ Token string }
	if err := json.Unmarshal([]byte(made.raw), &shown); made.status != http.StatusCreated || err != nil {
		t.Fatalf("answer is %d, %v", made.status, err)
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+shown.Token) }
	for name, h := range c.ways() {
		if a := h.mustPost(t, "/msg/user", "with a token by "+name, bearer); a.status != http.StatusCreated {
			t.Errorf("by %s: %d %s", name, a.status, a.raw)
		}
		expect(t, user, "me@example.com", "with a token by "+name)
	}
	if a, err := two.post("/tokens/shared", "", func(r *http.Request) { r.Method = http.MethodDelete }); a.status != http.StatusNoContent {
		t.Fatalf("revoked: %d %s, %v", a.status, a.raw, err)
	}
	for name, h := range c.ways() {
		if a := h.mustPost(t, "/msg/user", "x", bearer); a.status != http.StatusUnauthorized {
			t.Errorf("revoked, by %s: %d %s", name, a.status, a.raw)
		}
	}
}

// sharesGuesses: wrong passwords count together. Each instance alone would let ten of
// them pass; one may, before it has heard of the other's.
func (c *cluster) sharesGuesses(t *testing.T) {
	refused, throttled := 0, map[string]bool{}
	for n := 0; len(throttled) < 2 && refused < 20; n++ {
		i := c.instances[n%2]
		a := i.mustPost(t, "/msg/user", "x", func(r *http.Request) {
			r.SetBasicAuth("you@example.com", fmt.Sprint("guess ", n))
			r.Header.Set("X-Forwarded-For", "192.0.2.7")
		})
		switch a.status {
		case http.StatusUnauthorized:
			refused++
		case http.StatusTooManyRequests:
			throttled[i.name] = true
		default:
			t.Fatalf("guess %d at %s: %d %s", n, i.name, a.status, a.raw)
		}
	}
	if refused > 13 {
		t.Errorf("%d guesses passed", refused)
	}
}

// tellsAddresses: the address of who is refused is the client's, whatever it says.
func (c *cluster) tellsAddresses(t *testing.T) {
	client := c.trusting(t, "127.0.0.2")
	if status, err := c.front.postFrom(client, "me@example.com", "wrong", "x", "X-Forwarded-For", "192.0.2.9"); status != http.StatusUnauthorized {
		t.Errorf("answer is %d, %v", status, err)
	}
	logs := c.instances[0].log.String() + c.instances[1].log.String()
	if !strings.Contains(logs, `msg="login failed" jid=me@example.com addr=127.0.0.2`) {
		t.Error("no log has the client's address")
	}
}

// keeps: what is accepted while the server is away is sent when it is back.
func (c *cluster) keeps(t *testing.T) {
	for name, h := range c.ways() { // now each has the password
		if a := h.mustPost(t, "/msg/user", "before, by "+name, nil); a.status != http.StatusCreated {
			t.Fatalf("by %s: %d %s", name, a.status, a.raw)
		}
	}
	if err := c.server.Stop(); err != nil {
		t.Fatal(err)
	}
	kept := map[string]answer{}
	for name, h := range c.ways() {
		kept[name] = h.mustPost(t, "/msg/user", "kept by "+name, nil)
		if a := kept[name]; a.status != http.StatusAccepted || a.Status != "queued" {
			t.Errorf("by %s: %d %s", name, a.status, a.raw)
		}
	}
	if err := c.server.Start(); err != nil {
		t.Fatal(err)
	}
	c.ready(t)
	for name, h := range c.ways() {
		for of, a := range kept {
			xmpptest.Wait(t, 20*time.Second, "what "+of+" kept is delivered, says "+name, func() bool {
				return h.mustGet(t, "/messages/"+url.PathEscape(a.ID)).Status == "delivered"
			})
		}
	}
}
