package main

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// A commandReply is what a client reads of the answer to an ad-hoc command.
type commandReply struct {
	Type    string `xml:"type,attr"`
	Command struct {
		Session string `xml:"sessionid,attr"`
		Status  string `xml:"status,attr"`
		Note    struct {
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"note"`
		Form struct {
			Fields []struct {
				Var     string   `xml:"var,attr"`
				Values  []string `xml:"value"`
				Options []string `xml:"option>value"`
			} `xml:"field"`
		} `xml:"jabber:x:data x"`
	} `xml:"http://jabber.org/protocol/commands command"`
	Error struct {
		Children []struct{ XMLName xml.Name } `xml:",any"`
	} `xml:"error"`
}

// field gives the first value of a field.
func (r *commandReply) field(name string) string {
	for _, f := range r.Command.Form.Fields {
		if f.Var == name && len(f.Values) > 0 {
			return f.Values[0]
		}
	}
	return ""
}

// give sends a command to posthorn, with fields as var=value.
func give(t *testing.T, c *xmpptest.Client, node, session string, fields ...string) (r commandReply) {
	t.Helper()
	payload := ""
	if session != "" {
		session = " sessionid='" + session + "' action='complete'"
		for _, f := range fields {
			name, value, _ := strings.Cut(f, "=")
			payload += "<field var='" + name + "'><value>" + value + "</value></field>"
		}
		payload = "<x xmlns='jabber:x:data' type='submit'>" + payload + "</x>"
	}
	m := query(t, c, "set", fmt.Sprintf("<command xmlns='http://jabber.org/protocol/commands' node='%s'%s>%s</command>", node, session, payload))
	if err := xml.Unmarshal([]byte(m.Raw), &r); err != nil {
		t.Fatalf("%v: %s", err, m.Raw)
	}
	return r
}

func query(t *testing.T, c *xmpptest.Client, kind, payload string) xmpptest.Message {
	t.Helper()
	m, err := c.Query(t.Context(), kind, "post.example.com", payload)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTokenByCommands: an account makes, lists and revokes its own tokens from its XMPP
// client, without a password, and nobody else's.
func TestTokenByCommands(t *testing.T) {
	for name, p := range map[string]func(*testing.T) *xmpptest.Server{
		"Prosody": func(t *testing.T) *xmpptest.Server {
			return &xmpptest.StartProsody(t, xmpptest.Options{Hosts: []xmpptest.Host{{Domain: "example.com"}, {Domain: "other.example"}}}).Server
		},
		"ejabberd": func(t *testing.T) *xmpptest.Server {
			return &xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Hosts: []string{"example.com", "other.example"}}).Server
		},
	} {
		t.Run(name, func(t *testing.T) { testTokenByCommands(t, p(t)) })
	}
}

func testTokenByCommands(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "me@example.com", "user@example.com", "me@other.example")
	h := startPosthorn(t, p, withStore(t)...).ready(t)
	me, user, stranger := p.MustLogin(t, "me@example.com/phone", password), p.MustLogin(t, "user@example.com", password), p.MustLogin(t, "me@other.example", password)

	list := "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>"
	listed := query(t, me, "get", list).Raw
	for _, node := range []string{"token-create", "token-list", "token-revoke"} {
		if !strings.Contains(listed, node) {
			t.Errorf("the list lacks %s: %s", node, listed)
		}
	}
	if m := query(t, stranger, "get", list); m.Type != "error" || m.Error != "forbidden" {
		t.Errorf("a stranger is told %s", m.Raw)
	}
	if m := query(t, stranger, "set", "<command xmlns='http://jabber.org/protocol/commands' node='token-create'/>"); m.Type != "error" || m.Error != "forbidden" {
		t.Errorf("a stranger is told %s", m.Raw)
	}

	form := give(t, me, "token-create", "")
	if form.Command.Status != "executing" || form.field("expires") != "90d" {
		t.Fatalf("the form is %+v", form)
	}
	for _, wrong := range [][]string{{"expires=1d"}, {"name=a", "recipients=nobody"}, {"name=a", "owner=user@example.com"}, {"name=a", "expires=yesterday"}} {
		if r := give(t, me, "token-create", form.Command.Session, wrong...); r.Command.Status != "executing" || r.Command.Note.Type != "error" {
			t.Errorf("%v: %+v", wrong, r)
		}
	}
	if r := give(t, user, "token-create", form.Command.Session, "name=a"); r.Type != "error" {
		t.Errorf("in another's session: %+v", r)
	}
	made := give(t, me, "token-create", form.Command.Session, "name=backup", "expires=2d", "recipients=user@example.com", "networks=127.0.0.0/8")
	text := made.field("token")
	expires, err := time.Parse(time.RFC3339, made.field("expires"))
	if made.Command.Status != "completed" || !strings.HasPrefix(text, "ph_") || err != nil || time.Until(expires) > 48*time.Hour || !strings.Contains(made.Command.Note.Text, "this once") {
		t.Fatalf("made is %+v", made)
	}

	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
	if a := h.mustPost(t, "/msg/user", "by a token", bearer); a.status != 201 {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	expect(t, user, "me@example.com", "by a token")
	if a := h.mustPost(t, "/msg/me", "to another", bearer); a.status != 403 {
		t.Errorf("beyond its limits: %d %s", a.status, a.raw)
	}
	if a := h.mustPost(t, "/tokens", `{"name":"more"}`, bearer); a.status != 403 {
		t.Errorf("a token makes tokens: %d %s", a.status, a.raw)
	}
	for user, want := range map[string]int{"me@example.com": 201, "user@example.com": 401} {
		if a := h.mustPost(t, "/msg/user", "as a password", func(r *http.Request) { r.SetBasicAuth(user, text) }); a.status != want {
			t.Errorf("as the password of %s: %d %s", user, a.status, a.raw)
		}
	}
	expect(t, user, "me@example.com", "as a password")

	if r := give(t, me, "token-list", ""); r.field("backup") == "" || strings.Contains(fmt.Sprint(r), text) {
		t.Errorf("the list is %+v", r)
	}
	if r := give(t, user, "token-list", ""); len(r.Command.Form.Fields) != 0 || r.Command.Note.Text != "You have no tokens." {
		t.Errorf("another's list is %+v", r)
	}
	if r := give(t, user, "token-revoke", ""); r.Command.Status != "completed" {
		t.Errorf("another's form is %+v", r)
	}
	form = give(t, me, "token-revoke", "")
	if len(form.Command.Form.Fields) != 1 || fmt.Sprint(form.Command.Form.Fields[0].Options) != "[backup]" {
		t.Fatalf("the form is %+v", form)
	}
	if r := give(t, me, "token-revoke", form.Command.Session, "tokens=backup"); r.Command.Note.Text != "Revoked: backup" {
		t.Fatalf("revoking gives %+v", r)
	}
	if a := h.mustPost(t, "/msg/user", "revoked", bearer); a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}

	// A message is answered with what to do, once, and a stranger's is not.
	for range 3 {
		_ = me.Send("<message to='post.example.com' type='chat'><body>token please</body></message>")
		_ = stranger.Send("<message to='post.example.com' type='chat'><body>token please</body></message>")
	}
	if m := me.MustReceive(t); m.From != "post.example.com" || !strings.Contains(m.Body, "commands") || m.Type != "chat" {
		t.Errorf("the answer is %s", m.Raw)
	}
	for _, c := range []*xmpptest.Client{me, stranger} {
		query(t, c, "get", "<ping xmlns='urn:xmpp:ping'/>") // after it nothing of before is to come
		select {
		case m := <-c.Messages():
			t.Errorf("received %s", m.Raw)
		default:
		}
	}
	if log := h.log.String(); strings.Contains(log, text) || strings.Contains(log, "token please") || !strings.Contains(log, `msg="a token was made" jid=me@example.com id=backup`) {
		t.Errorf("the log is %s", log)
	}
}
