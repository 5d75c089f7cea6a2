package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain   = "example.com"
	password = "pässword-ᴛest"
)

// What a server says, and what it has to hear.
const (
	hello     = `<\?xml version='1\.0'\?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx\.jabber\.org/streams' to='example\.com' version='1\.0'>`
	header    = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='example.com' id='i' version='1.0'>`
	startTLS  = `<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`
	proceed   = `<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`
	sasl      = `xmlns='urn:ietf:params:xml:ns:xmpp-sasl'`
	bind      = `<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`
	bound     = `<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>me@example.com/r</jid></bind></iq>`
	canBind   = `<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>`
	streamEnd = `</stream:stream>`
)

func features(inside string) string {
	return "<stream:features>" + inside + "</stream:features>"
}

func mechanisms(names ...string) string {
	var s strings.Builder
	for _, n := range names {
		s.WriteString("<mechanism>" + n + "</mechanism>")
	}
	return "<mechanisms " + sasl + ">" + s.String() + "</mechanisms>"
}

func bindingTypes(types ...string) string {
	var s strings.Builder
	for _, n := range types {
		s.WriteString("<channel-binding type='" + n + "'/>")
	}
	return "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>" + s.String() + "</sasl-channel-binding>"
}

func failure(condition string) string {
	return "<failure " + sasl + "><" + condition + "/></failure>"
}

// A peer is the server's side of one connection.
type peer struct {
	t      *testing.T
	conn   net.Conn
	config *tls.Config
}

// hear reads one write of ours, which must match pattern wholly.
func (p *peer) hear(pattern string) []string {
	buffer := make([]byte, 1<<16)
	n, err := p.conn.Read(buffer)
	found := regexp.MustCompile("^(?:" + pattern + ")$").FindStringSubmatch(string(buffer[:n]))
	if err != nil || found == nil {
		p.t.Errorf("peer heard %q, %v; want %s", buffer[:n], err, pattern)
		runtime.Goexit()
	}
	return found
}

func (p *peer) say(text string) {
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Errorf("peer could not say %.100q: %v", text, err)
		runtime.Goexit()
	}
}

// try says what the other side need not wait for.
func (p *peer) try(text string) { _, _ = io.WriteString(p.conn, text) }

// open is the exchange of headers, up to our features.
func (p *peer) open(inside string) {
	p.hear(hello)
	p.say(header + features(inside))
}

// succeed says that the password is right, and gives a resource.
func (p *peer) succeed(signature string) {
	p.say("<success " + sasl + ">" + signature + "</success>")
	p.open(canBind)
	p.hear(bind)
	p.say(bound)
}

func (p *peer) encrypt() *tls.ConnectionState {
	conn := tls.Server(p.conn, p.config)
	_ = conn.Handshake() // that it fails is often the point; the other side tells
	p.conn = conn
	state := conn.ConnectionState()
	return &state
}

// end hears the end of the stream and nothing after it.
func (p *peer) end() {
	p.hear(streamEnd)
	p.eof()
}

func (p *peer) eof() {
	if rest, _ := io.ReadAll(p.conn); len(rest) > 0 {
		p.t.Errorf("peer heard %q after the end", rest)
	}
}

// A rig is a Verifier whose servers are peers that follow a script.
type rig struct {
	*Verifier
	t        *testing.T
	dials    atomic.Int32
	peers    sync.WaitGroup
	log      *bytes.Buffer
	registry *prometheus.Registry
	errs     []string
}

func newRig(t *testing.T, mode TLSMode, script func(*peer), change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, log: new(bytes.Buffer), registry: prometheus.NewRegistry()}
	ca, config := certificates()
	o := Options{
		Hosts:     []Host{{Domain: "Example.COM", Address: "127.0.0.1", TLS: mode, RootCAs: ca}},
		CacheTTL:  time.Minute,
		CacheSize: 100,
		Log:       slog.New(slog.NewTextHandler(r.log, nil)),
		Metrics:   r.registry,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			r.dials.Add(1)
			ours, theirs := net.Pipe()
			r.peers.Go(func() {
				defer theirs.Close()
				script(&peer{t, theirs, config})
			})
			return buffered{ours, bufio.NewReaderSize(ours, 1<<16)}, nil
		},
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if r.Verifier, err = New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

// buffered takes what a peer writes at once, as a socket does: in TLS both sides
// may write at the same time, which on a bare pipe would block them for ever.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// verify asks about me@example.com.
func (r *rig) verify(password string) error {
	jid, err := r.Verify(r.t.Context(), "me@"+domain, secret.New(password), netip.Addr{})
	if err == nil && jid != message.JID("me@"+domain) {
		r.t.Errorf("Verify() = %q", jid)
	}
	r.note(err)
	return err
}

func (r *rig) note(err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Sprintf("%v %+v %#v", err, err, err))
	}
}

// done waits for everything, and looks for the password wherever it could be.
func (r *rig) done() {
	r.t.Helper()
	r.Close()
	r.peers.Wait()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Error(err)
	}
	everything := fmt.Sprint(r.log.String(), r.errs, families)
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte("\x00me\x00" + password)), hex.EncodeToString([]byte(password)), fmt.Sprintf("%q", password), fmt.Sprintf("%+q", password)} {
		if strings.Contains(everything, form) {
			r.t.Errorf("%q stands in\n%s", form, everything)
		}
	}
}

// certificates makes a CA and a server of example.com that it vouches for. Its
// years include 2000, in which synctest lives.
var certificates = sync.OnceValues(func() (*x509.CertPool, *tls.Config) {
	pool, config, err := makeCertificates(domain)
	if err != nil {
		panic(err)
	}
	return pool, config
})

func makeCertificates(name string) (*x509.CertPool, *tls.Config, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, NextProtos: []string{"xmpp-client"}}, nil
}
