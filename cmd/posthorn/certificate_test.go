package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/xmpptest"
)

// A renewer replaces a certificate as certbot does: the files that posthorn knows
// are links, and those are replaced.
type renewer struct {
	ca                *xmpptest.CA
	certFile, keyFile string
}

func newRenewer(t *testing.T) *renewer {
	t.Helper()
	ca, err := xmpptest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &renewer{ca: ca, certFile: filepath.Join(dir, "fullchain.pem"), keyFile: filepath.Join(dir, "privkey.pem")}
	r.renew(t)
	return r
}

// issue makes new files.
func (r *renewer) issue(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := r.ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := xmpptest.WriteCertificate(pair, certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// renew gives the serial number of the new certificate.
func (r *renewer) renew(t *testing.T) string {
	t.Helper()
	certFile, keyFile := r.issue(t)
	replaceLink(t, r.certFile, certFile)
	replaceLink(t, r.keyFile, keyFile)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

func replaceLink(t *testing.T, link, target string) {
	t.Helper()
	if err := os.Symlink(target, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// replaceWith puts text where a link leads to what it replaces.
func replaceWith(t *testing.T, link, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	replaceLink(t, link, file)
}

// TestCertificateKept: which certificate is in use after a change of the files,
// and what the log says of it, however often they are looked at.
func TestCertificateKept(t *testing.T) {
	tests := map[string]struct {
		change  func(t *testing.T, r *renewer)
		hangup  bool
		renewed bool
		log     string // part of the only line; empty: none
	}{
		"nothing":           {change: func(*testing.T, *renewer) {}},
		"both files":        {change: func(t *testing.T, r *renewer) { r.renew(t) }, renewed: true, log: "level=INFO"},
		"nothing, SIGHUP":   {change: func(*testing.T, *renewer) {}, hangup: true, renewed: true, log: "reason=SIGHUP"},
		"half of the pair":  {change: func(t *testing.T, r *renewer) { cert, _ := r.issue(t); replaceLink(t, r.certFile, cert) }, log: "level=WARN"},
		"half of a file":    {change: func(t *testing.T, r *renewer) { replaceWith(t, r.keyFile, "-----BEGIN PRIVATE KEY-----\nMIG") }, log: "level=WARN"},
		"no file":           {change: func(t *testing.T, r *renewer) { _ = os.Remove(r.keyFile) }, log: "level=WARN"},
		"half, with SIGHUP": {change: func(t *testing.T, r *renewer) { replaceWith(t, r.certFile, "") }, hangup: true, log: "level=WARN"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRenewer(t)
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				files, hangups, stop := keepCertificate(t, r, &log)
				old := files.pair.Load()
				test.change(t, r)
				if test.hangup {
					hangups <- syscall.SIGHUP
					synctest.Wait()
				}
				time.Sleep(10 * lookEvery)
				stop()
				if renewed := files.pair.Load() != old; renewed != test.renewed {
					t.Errorf("renewed: %v", renewed)
				}
				want := 0
				if test.log != "" {
					want = 1
				}
				if strings.Count(log.String(), "\n") != want || !strings.Contains(log.String(), test.log) {
					t.Errorf("the log has to be one line with %q:\n%s", test.log, &log)
				}
			})
		})
	}
}

// keepCertificate keeps the renewer's files fresh until stop.
func keepCertificate(t *testing.T, r *renewer, log *bytes.Buffer) (files *certificate, hangups chan os.Signal, stop func()) {
	t.Helper()
	c := &config{}
	c.HTTP.TLS.CertFile, c.HTTP.TLS.KeyFile = r.certFile, r.keyFile
	files, err := openCertificate(c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	hangups = make(chan os.Signal)
	return files, hangups, start(func(ctx context.Context) { files.keep(ctx, hangups) })
}

// TestRenewal: a running posthorn takes a new certificate, by itself and on
// SIGHUP, and connections that exist stay.
func TestRenewal(t *testing.T) {
	r := newRenewer(t)
	file, address := withTLS(t, r)
	p, log := startCommand(t, exec.Command("posthorn", "serve", "--config", file))
	xmpptest.Wait(t, 10*time.Second, "posthorn listens", func() bool { return xmpptest.Accepts(address) })
	old := r.dial(t, address, &tls.Config{})
	answers(t, old)
	inUse := func(serial string) func() bool {
		return func() bool { return serialOf(r.dial(t, address, &tls.Config{})) == serial }
	}
	xmpptest.Wait(t, 20*time.Second, "the renewed certificate is in use", inUse(r.renew(t)))
	serial := r.renew(t)
	if err := syscall.Kill(p.Pid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 20*time.Second, "SIGHUP was heard", func() bool { return strings.Contains(log.String(), "reason=SIGHUP") })
	if !inUse(serial)() {
		t.Error("after SIGHUP the old certificate is in use")
	}
	answers(t, old)
}

// TestVersionsOfTLS: what is older than 1.2 is refused, and HTTP/2 is spoken.
func TestVersionsOfTLS(t *testing.T) {
	r := newRenewer(t)
	file, address := withTLS(t, r)
	startCommand(t, exec.Command("posthorn", "serve", "--config", file))
	xmpptest.Wait(t, 10*time.Second, "posthorn listens", func() bool { return xmpptest.Accepts(address) })
	for version, accepted := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		settings := &tls.Config{RootCAs: r.ca.Pool(), MinVersion: version, MaxVersion: version}
		conn, err := tls.Dial("tcp", address, settings)
		if (err == nil) != accepted {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	if conn := r.dial(t, address, &tls.Config{NextProtos: []string{"h2", "http/1.1"}}); conn.ConnectionState().NegotiatedProtocol != "h2" {
		t.Errorf("speaks %q, want h2", conn.ConnectionState().NegotiatedProtocol)
	}
}

// withTLS is withoutServer, with the renewer's certificate.
func withTLS(t *testing.T, r *renewer) (file, address string) {
	t.Helper()
	file, address = withoutServer(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("http: {"), []byte("http: {tls: {cert_file: "+r.certFile+", key_file: "+r.keyFile+"}, "), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, address
}

func (r *renewer) dial(t *testing.T, address string, settings *tls.Config) *tls.Conn {
	t.Helper()
	settings.RootCAs = r.ca.Pool()
	conn, err := tls.Dial("tcp", address, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func serialOf(conn *tls.Conn) string {
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// answers asks on a connection that stays open.
func answers(t *testing.T, conn net.Conn) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "https://127.0.0.1/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.Write(conn); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil || response.StatusCode != http.StatusOK || response.Close {
		t.Fatalf("the answer is %v, %v", response, err)
	}
	_ = response.Body.Close()
}

// TestHangupWithoutTLS: SIGHUP ends no posthorn that has no certificate.
func TestHangupWithoutTLS(t *testing.T) {
	file, address := withoutServer(t)
	p, log := startCommand(t, exec.Command("posthorn", "serve", "--config", file))
	xmpptest.Wait(t, 10*time.Second, "posthorn listens", func() bool { return xmpptest.Accepts(address) })
	if err := syscall.Kill(p.Pid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "SIGHUP was heard", func() bool { return strings.Contains(log.String(), "SIGHUP") })
	if !xmpptest.Accepts(address) {
		t.Error("posthorn does not listen any more")
	}
}

// TestClearText: an address that others reach is warned of, in one line, where it
// has no TLS. The posthorn of this test has a network of its own that nobody else
// is in.
func TestClearText(t *testing.T) {
	tests := map[string]struct {
		listen string
		tls    bool
		warned int
	}{
		"every address":         {listen: "0.0.0.0:5288", warned: 1},
		"every address of both": {listen: ":5288", warned: 1},
		"loopback":              {listen: "127.0.0.2:5288"},
		"loopback by name":      {listen: "localhost:5288"},
		"Unix socket":           {listen: "unix:" + filepath.Join(t.TempDir(), "http.sock")},
		"TLS":                   {listen: "0.0.0.0:5288", tls: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file, address := withoutServer(t)
			if test.tls {
				file, address = withTLS(t, newRenewer(t))
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, bytes.Replace(text, []byte(address), []byte(test.listen), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			_, log := startCommand(t, exec.Command("unshare", "-Urn", "posthorn", "serve", "--config", file))
			xmpptest.Wait(t, 10*time.Second, "posthorn listens", func() bool { return strings.Contains(log.String(), "msg=listening") })
			if n := strings.Count(log.String(), "in clear"); n != test.warned {
				t.Errorf("%d warnings, want %d", n, test.warned)
			}
		})
	}
}
