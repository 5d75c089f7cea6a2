package xmpptest_test

import (
	"crypto/sha1"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// A kind is one of the servers, from its own file in deploy/.
type kind struct {
	name      string
	start     func(*testing.T, ...xmpptest.Edit) *xmpptest.Server
	setting   string // what ends the check of addresses
	unknown   string // the stream error for a component that it does not have
	namespace string // of its privilege
	complains string // how a line of its log begins that says what is wrong
}

var kinds = []kind{
	{"Prosody", func(t *testing.T, edits ...xmpptest.Edit) *xmpptest.Server {
		return &xmpptest.StartProsody(t, xmpptest.Options{Component: edits}).Server
	}, "validate_from_addresses", "host-unknown", "urn:xmpp:privilege:2", "error\t"},
	{"ejabberd", func(t *testing.T, edits ...xmpptest.Edit) *xmpptest.Server {
		return &xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Component: edits}).Server
	}, "check_from", "not-authorized", "urn:xmpp:privilege:1", "[error]"},
}

// The lines of deploy/prosody.cfg.lua and deploy/ejabberd.yml, and their
// commented alternative, do what they promise, and the server has nothing to
// say against them.
func TestComponentSection(t *testing.T) {
	const direct = `<message from='me@example.com' to='user@example.com'><body>hello</body></message>`
	const wrapped = `<message from='post.example.com' to='example.com'><privilege xmlns='%s'>` +
		`<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='me@example.com' to='user@example.com'>` +
		`<body>hello</body></message></forwarded></privilege></message>`
	for _, kind := range kinds {
		granted := fmt.Sprintf("<privilege xmlns='%s'", kind.namespace)
		for _, test := range []struct {
			name        string
			edits       []xmpptest.Edit
			hello, send string
			said        string // by the server, to what was sent
		}{
			{"as in deploy", nil, `<handshake`, direct, ""},
			{"privilege", []xmpptest.Edit{xmpptest.Privilege}, granted, fmt.Sprintf(wrapped, kind.namespace), ""},
			{"privilege checks addresses", []xmpptest.Edit{xmpptest.Privilege}, granted, direct, "invalid-from"},
			{"validation left on", []xmpptest.Edit{xmpptest.Without(kind.setting)}, `<handshake`, direct, "invalid-from"},
			{"another secret", []xmpptest.Edit{xmpptest.Replace("change-me", "other")}, "not-authorized", "", ""},
			{"another name", []xmpptest.Edit{xmpptest.Replace("post.example.com", "other.example.com")}, kind.unknown, "", ""},
		} {
			t.Run(kind.name+", "+test.name, func(t *testing.T) {
				p := kind.start(t, test.edits...)
				p.Users(t, password, "user@example.com")
				user := p.MustLogin(t, "user@example.com", password)
				c := dialComponent(t, p.ComponentAddress)
				c.await(t, test.hello)
				fmt.Fprint(c, test.send)
				switch {
				case test.said != "":
					c.await(t, test.said)
				case test.send != "":
					if m := user.MustReceive(t); m.From != "me@example.com" || m.Body != "hello" {
						t.Errorf("%+v", m)
					}
				}
				for line := range strings.Lines(p.Log()) {
					if strings.Contains(line, kind.complains) {
						t.Errorf("logged: %s", line)
					}
				}
			})
		}
		t.Run(kind.name+", none", func(t *testing.T) {
			p := kind.start(t, xmpptest.NoComponent)
			if xmpptest.Accepts(p.ComponentAddress) {
				t.Error("it listens for components")
			}
		})
	}
}

// A rawComponent is the least that speaks XEP-0114.
type rawComponent struct {
	net.Conn
	heard string
}

// dialComponent sends the stream header and, where it learns the stream's id,
// the handshake (XEP-0114 §3).
func dialComponent(t *testing.T, address string) *rawComponent {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &rawComponent{Conn: conn}
	fmt.Fprintf(c, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>", xmpptest.ComponentDomain)
	c.await(t, "id=")
	id := regexp.MustCompile(`id=['"]([^'"]*)['"]`).FindStringSubmatch(c.heard)
	fmt.Fprintf(c, "<handshake>%x</handshake>", sha1.Sum([]byte(id[1]+xmpptest.ComponentSecret)))
	return c
}

// await reads until the server has said the text.
func (c *rawComponent) await(t *testing.T, text string) {
	t.Helper()
	buffer := make([]byte, 4096)
	for !strings.Contains(c.heard, text) {
		n, err := c.Read(buffer)
		c.heard += string(buffer[:n])
		if err != nil {
			t.Fatalf("%v; heard %q, not %q", err, c.heard, text)
		}
	}
}
