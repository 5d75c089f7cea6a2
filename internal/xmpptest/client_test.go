package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"

	"posthorn/internal/xmpptest"
)

const password = "correct horse"

func chat(to, id, body string) string {
	return fmt.Sprintf("<message to='%s' type='chat' id='%s'><body>%s</body></message>", to, id, body)
}

func TestTwoUsersExchangeAMessage(t *testing.T) { onBoth(t, testTwoUsersExchangeAMessage) }

func testTwoUsersExchangeAMessage(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "me@example.com", "user@example.com")
	me := p.MustLogin(t, "me@example.com/desk", password)
	user := p.MustLogin(t, "user@example.com", password)
	if me.JID != "me@example.com/desk" {
		t.Errorf("bound %q", me.JID)
	}

	me.MustSend(t, `<message to='user@example.com' type='headline' id='m1' xml:lang='en'>`+
		`<subject>S</subject><body>a &amp; b</body><body xmlns='urn:other'>no</body><thread>T</thread>`+
		`<origin-id xmlns='urn:xmpp:sid:0' id='o1'/><x xmlns='jabber:x:oob'><url>http://a/?b&amp;c</url></x>`+
		`<html xmlns='http://jabber.org/protocol/xhtml-im'><p>a</p></html>`+
		`<replace xmlns='urn:xmpp:message-correct:0' id='m0'/><y xmlns='urn:y'><body>no</body></y></message>`)
	got := user.MustReceive(t)
	if !strings.HasPrefix(got.Raw, "<message") || !strings.HasSuffix(got.Raw, "</message>") {
		t.Errorf("raw %q", got.Raw)
	}
	got.Raw = ""
	want := xmpptest.Message{
		Name: "message", From: me.JID, To: "user@example.com", Type: "headline", ID: "m1", Lang: "en",
		Body: "a & b", Subject: "S", Thread: "T", OriginID: "o1", OOB: "http://a/?b&c", XHTML: "<p>a</p>", Replace: "m0",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOfflineMessageCarriesItsDelay(t *testing.T) { onBoth(t, testOfflineMessageCarriesItsDelay) }

func testOfflineMessageCarriesItsDelay(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "me@example.com", "user@example.com")
	me := p.MustLogin(t, "me@example.com", password)
	me.MustSend(t, chat("user@example.com", "m1", "later"))
	me.MustSend(t, chat("nobody@example.com", "m2", "never"))
	if m := me.MustReceive(t); m.ErrorKind != "cancel" || m.Error != "service-unavailable" || m.ID != "m2" {
		t.Errorf("the bounce: %+v", m)
	}
	user := p.MustLogin(t, "user@example.com", password)
	if m := user.MustReceive(t); m.Body != "later" || m.Delay == "" {
		t.Errorf("the stored message: %+v", m)
	}
}

func TestCarbons(t *testing.T) { onBoth(t, testCarbons) }

func testCarbons(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "me@example.com", "user@example.com")
	desk := p.MustLogin(t, "me@example.com/desk", password)
	phone := p.MustLoginWithCarbons(t, "me@example.com/phone", password)
	desk.MustSend(t, chat("user@example.com", "m1", "copied"))
	if m := phone.MustReceive(t); m.Carbon != "sent" || m.From != desk.JID || m.Body != "copied" || !strings.Contains(m.Raw, "forwarded") {
		t.Errorf("%+v", m)
	}
}

func TestWrongPassword(t *testing.T) { onBoth(t, testWrongPassword) }

func testWrongPassword(t *testing.T, p *xmpptest.Server) {
	p.Users(t, password, "me@example.com")
	c, err := p.Login(t.Context(), "me@example.com", "wrong")
	if err == nil {
		c.Close()
		t.Fatal("logged in")
	}
	// The texts beside not-authorized.
	if !strings.Contains(err.Error(), "The response provided by the client") && !strings.Contains(err.Error(), "Invalid username or password") {
		t.Error(err)
	}
}

func TestPasswordsAndTLS(t *testing.T) {
	prosody := func(o xmpptest.Options) func(*testing.T) *xmpptest.Server {
		return func(t *testing.T) *xmpptest.Server { return &xmpptest.StartProsody(t, o).Server }
	}
	ejabberd := func(o xmpptest.EjabberdOptions) func(*testing.T) *xmpptest.Server {
		return func(t *testing.T) *xmpptest.Server { return &xmpptest.StartEjabberd(t, o).Server }
	}
	for _, test := range []struct {
		name  string
		start func(*testing.T) *xmpptest.Server
	}{
		{"Prosody, hashed", prosody(xmpptest.Options{})},
		{"Prosody, plain passwords", prosody(xmpptest.Options{PlainPasswords: true})},
		{"Prosody, TLS 1.2", prosody(xmpptest.Options{TLS: `protocol = "tlsv1_2"`})},
		{"Prosody, PLAIN alone", prosody(xmpptest.Options{Global: `disable_sasl_mechanisms = { "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS" }`})},
		{"ejabberd, hashed", ejabberd(xmpptest.EjabberdOptions{})},
		{"ejabberd, plain passwords", ejabberd(xmpptest.EjabberdOptions{PlainPasswords: true})},
		{"ejabberd, TLS 1.2", ejabberd(xmpptest.EjabberdOptions{Clients: "protocol_options: [no_tlsv1_3]"})},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := test.start(t)
			p.Users(t, password, "me@example.com")
			for _, direct := range []bool{false, true} {
				o := xmpptest.LoginOptions{JID: "me@example.com", Password: password, Address: p.ClientAddress, RootCAs: p.CA.Pool()}
				if direct {
					o.TLS, o.Address = true, p.DirectTLSAddress
				}
				c, err := xmpptest.Login(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
		})
	}
}
