package auth

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"posthorn/internal/fault"
)

// TestNegotiation: what the server does, and what comes of it. "> " is heard
// by the server, "< " is said by it, "tls" starts TLS, "accept" takes the password
// and gives a resource, "silence" says nothing more and "cut" ends the
// connection. Everything that fails here fails before
// any credentials, which "> " would have to name.
func TestNegotiation(t *testing.T) {
	plain := features(mechanisms("PLAIN"))
	wrongPlace := features("<starttls xmlns='urn:other'/>" + mechanisms("PLAIN"))
	for _, test := range []struct {
		name   string
		mode   TLSMode
		script []string
		want   Reason // empty: the password is accepted
	}{
		{"STARTTLS", StartTLS, []string{"> " + hello, "< " + header + features(startTLS+mechanisms("SCRAM-SHA-1")), "> " + startTLS, "< " + proceed, "tls",
			"> " + hello, "< " + header + plain, "> <auth xmlns=.* mechanism=\"PLAIN\">.*</auth>", "accept", "> " + streamEnd}, ""},
		{"direct TLS", DirectTLS, []string{"tls", "> " + hello, "< " + header + plain, "> <auth .*", "accept", "> " + streamEnd}, ""},
		{"comments, keep-alives", DirectTLS, []string{"tls", "> " + hello, "< " + header + " \n<!-- <a> -->" + plain, "> <auth .*", "< \n", "accept", "> " + streamEnd}, ""},
		{"STARTTLS not offered", StartTLS, []string{"> " + hello, "< " + header + plain, "> " + streamEnd}, TLSFailed},
		{"STARTTLS of another namespace", StartTLS, []string{"> " + hello, "< " + header + wrongPlace, "> " + streamEnd}, TLSFailed},
		{"STARTTLS refused", StartTLS, []string{"> " + hello, "< " + header + features(startTLS), "> " + startTLS, "< <failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "> " + streamEnd}, TLSFailed},
		{"bytes injected before TLS", StartTLS, []string{"> " + hello, "< " + header + features(startTLS), "> " + startTLS, "< " + proceed + header + plain, "> " + streamEnd}, TLSFailed},
		{"no TLS where it should be", DirectTLS, []string{"> (?s).*", "< " + header}, TLSFailed},
		{"PLAIN without TLS", NoTLS, []string{"> " + hello, "< " + header + plain, "> " + streamEnd}, NoMechanism},
		{"nothing that we have", DirectTLS, []string{"tls", "> " + hello, "< " + header + features(mechanisms("DIGEST-MD5", "SCRAM-SHA-256-PLUS")), "> " + streamEnd}, NoMechanism},
		{"no mechanisms", DirectTLS, []string{"tls", "> " + hello, "< " + header + features(""), "> " + streamEnd}, NoMechanism},
		{"host unknown", StartTLS, []string{"> " + hello, "< " + header + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", "> " + streamEnd}, HostUnknown},
		{"banned", StartTLS, []string{"> " + hello, "< " + header + "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Too many failures</text></stream:error></stream:stream>", "> " + streamEnd}, NotNow},
		{"not XMPP", StartTLS, []string{"> " + hello, "< HTTP/1.1 400 Bad Request\r\n\r\n<html>", "> " + streamEnd}, Broken},
		{"garbage instead of features", StartTLS, []string{"> " + hello, "< " + header + "<a></b>", "> " + streamEnd}, Broken},
		{"a message instead of features", StartTLS, []string{"> " + hello, "< " + header + "<message/>", "> " + streamEnd}, Broken},
		{"a document type", StartTLS, []string{"> " + hello, "< " + header + "<!DOCTYPE a>", "> " + streamEnd}, Broken},
		{"the stream closed", StartTLS, []string{"> " + hello, "< " + header + "</stream:stream>", "> " + streamEnd}, Broken},
		{"cut at once", StartTLS, []string{"cut"}, Broken},
		{"cut in the features", StartTLS, []string{"> " + hello, "< " + header + "<stream:features>", "cut"}, Broken},
		{"silence", StartTLS, []string{"> " + hello, "silence"}, Timeout},
		{"silence in TLS", DirectTLS, []string{"> (?s).*", "silence"}, Timeout},
		{"silence after the features", StartTLS, []string{"> " + hello, "< " + header + features(startTLS), "> " + startTLS, "silence"}, Timeout},
		{"huge features", StartTLS, []string{"> " + hello, "< " + header + features(strings.Repeat("<a/>", maxElementBytes/4)), "> " + streamEnd}, Broken},
		{"endless features", StartTLS, []string{"> " + hello, "< " + header + "<stream:features>", "endless"}, Broken},
		{"endless keep-alives", StartTLS, []string{"> " + hello, "< " + header, "endless"}, Broken},
		{"features as deep as a well", StartTLS, []string{"> " + hello, "< " + header + features(strings.Repeat("<a>", 20)+strings.Repeat("</a>", 20)), "> " + streamEnd}, Broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, test.mode, func(p *peer) { p.follow(test.script) })
				began := time.Now()
				err := r.verify(password)
				if took := time.Since(began); took > probeTimeout {
					t.Errorf("took %v", took)
				}
				r.done()
				checkReason(t, err, test.want)
			})
		})
	}
}

func (p *peer) follow(script []string) {
	for _, line := range script {
		verb, text, _ := strings.Cut(line, " ")
		switch verb {
		case ">":
			p.hear(text)
		case "<":
			p.say(text)
		case "tls":
			p.encrypt()
		case "accept":
			p.succeed("")
		case "cut":
			return
		case "endless":
			for {
				if _, err := io.WriteString(p.conn, strings.Repeat(" ", 1<<12)); err != nil {
					return
				}
			}
		}
	}
	_, _ = io.Copy(io.Discard, p.conn)
}

// checkReason: want is empty for a password that was accepted.
func checkReason(t *testing.T, err error, want Reason) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("Verify() = %v, want success", err)
		}
		return
	}
	var probe *ProbeError
	if fault.Of(err).Kind != fault.Unavailable || !errors.As(err, &probe) || probe.Reason != want {
		t.Fatalf("Verify() = %v, want %s", err, want)
	}
	wantPublic := "the XMPP server for example.com cannot check passwords now: try again later"
	if want == Busy {
		wantPublic = "too many passwords are being checked: try again"
	}
	if public := fault.Of(err).Public; public != wantPublic {
		t.Errorf("public text %q", public)
	}
	if probe.Hint() == "" {
		t.Error("no hint")
	}
}

// TestCertificates: nobody without the right certificate hears a password.
func TestCertificates(t *testing.T) {
	otherCA, other, err := makeCertificates("other.example")
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := certificates()
	for _, test := range []struct {
		name   string
		change func(*Host)
		peer   func(*peer)
		hint   string // part of it; empty: it verifies
	}{
		{"right", func(*Host) {}, func(*peer) {}, ""},
		{"another name", func(h *Host) { h.RootCAs = otherCA }, func(p *peer) { p.config = other }, "server_name"},
		{"another name that is configured", func(h *Host) { h.RootCAs, h.ServerName = otherCA, "other.example" }, func(p *peer) { p.config = other }, ""},
		{"not the configured name", func(h *Host) { h.RootCAs, h.ServerName = ca, "other.example" }, func(*peer) {}, "server_name"},
		{"unknown CA", func(h *Host) { h.RootCAs = otherCA }, func(*peer) {}, "ca_file"},
		{"the system's CAs", func(h *Host) { h.RootCAs = nil }, func(*peer) {}, "ca_file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, func(p *peer) {
					test.peer(p)
					if p.encrypt(); test.hint != "" {
						p.eof()
						return
					}
					p.open(mechanisms("PLAIN"))
					p.hear("<auth .*")
					p.succeed("")
					p.end()
				}, func(o *Options) { test.change(&o.Hosts[0]) })
				err := r.verify(password)
				r.done()
				if test.hint == "" {
					checkReason(t, err, "")
					return
				}
				checkReason(t, err, Untrusted)
				var probe *ProbeError
				if errors.As(err, &probe); !strings.Contains(probe.Hint(), test.hint) {
					t.Errorf("hint %q, want %s in it", probe.Hint(), test.hint)
				}
			})
		})
	}
}
