package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/xmpptest"
)

// at is a Verifier that asks p, and remembers nothing.
func at(tb testing.TB, p *xmpptest.Server, change func(*Host)) *Verifier {
	tb.Helper()
	host := Host{Domain: xmpptest.Domain, Address: p.ClientAddress, RootCAs: p.CA.Pool()}
	if change != nil {
		change(&host)
	}
	v, err := New(Options{Hosts: []Host{host}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v
}

func prosody(o xmpptest.Options) func(testing.TB) *xmpptest.Server {
	return func(tb testing.TB) *xmpptest.Server { return &xmpptest.StartProsody(tb, o).Server }
}

func ejabberd(o xmpptest.EjabberdOptions) func(testing.TB) *xmpptest.Server {
	return func(tb testing.TB) *xmpptest.Server { return &xmpptest.StartEjabberd(tb, o).Server }
}

// overDirectTLS is another way to the same server.
func overDirectTLS(p *xmpptest.Server) func(*Host) {
	return func(h *Host) { h.Address, h.TLS = p.DirectTLSAddress, DirectTLS }
}

// TestServers asks real ones, in each way in which they can be set up.
func TestServers(t *testing.T) {
	const storable = "pässword" // ejabberd takes no password that SASLprep does not know
	clear := func(*xmpptest.Server) func(*Host) { return func(h *Host) { h.TLS = NoTLS } }
	for _, test := range []struct {
		name     string
		start    func(testing.TB) *xmpptest.Server
		password string
		host     func(*xmpptest.Server) func(*Host)
		want     Report // Address is not compared
	}{
		{"Prosody as installed", prosody(xmpptest.Options{}), password, nil, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-1"}},
		{"Prosody, direct TLS", prosody(xmpptest.Options{}), password, overDirectTLS, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-1"}},
		{"Prosody, TLS 1.2", prosody(xmpptest.Options{TLS: `protocol = "tlsv1_2"`}), password, nil, Report{TLS: "TLS 1.2", Mechanism: "SCRAM-SHA-1-PLUS"}},
		{"Prosody, TLS 1.2, direct", prosody(xmpptest.Options{TLS: `protocol = "tlsv1_2"`}), password, overDirectTLS, Report{TLS: "TLS 1.2", Mechanism: "SCRAM-SHA-1-PLUS"}},
		{"Prosody, SCRAM-SHA-256", prosody(xmpptest.Options{PlainPasswords: true}), password, nil, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-256"}},
		{"Prosody, PLAIN alone", prosody(xmpptest.Options{Global: `disable_sasl_mechanisms = { "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS" }`}), password, nil, Report{TLS: "TLS 1.3", Mechanism: "PLAIN"}},
		{"Prosody without TLS", prosody(xmpptest.Options{Global: `c2s_require_encryption = false`}), password, clear, Report{Mechanism: "SCRAM-SHA-1"}},
		{"ejabberd as installed", ejabberd(xmpptest.EjabberdOptions{}), storable, nil, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-1"}},
		{"ejabberd, TLS 1.2, direct", ejabberd(xmpptest.EjabberdOptions{Clients: "protocol_options: [no_tlsv1_3]"}), storable, overDirectTLS, Report{TLS: "TLS 1.2", Mechanism: "SCRAM-SHA-1-PLUS"}},
		{"ejabberd, SCRAM-SHA-512", ejabberd(xmpptest.EjabberdOptions{PlainPasswords: true}), storable, nil, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-512"}},
		{"ejabberd, PLAIN alone", ejabberd(xmpptest.EjabberdOptions{Extra: `disable_sasl_mechanisms: [SCRAM-SHA-1, SCRAM-SHA-1-PLUS]`}), storable, nil, Report{TLS: "TLS 1.3", Mechanism: "PLAIN"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := test.start(t)
			p.Users(t, test.password, "me@example.com", "jürgen@example.com")
			var change func(*Host)
			if test.host != nil {
				change = test.host(p)
			}
			v := at(t, p, change)
			report, err := v.Check(t.Context(), xmpptest.Domain)
			if err != nil || report.TLS != test.want.TLS || report.Mechanism != test.want.Mechanism || !slices.Contains(report.Mechanisms, test.want.Mechanism) {
				t.Errorf("Check() = %+v, %v; want %+v", report, err, test.want)
			}
			for _, try := range []struct {
				user, password string
				want           fault.Kind // Internal: accepted
			}{
				{"me@example.com", test.password, fault.Internal},
				{"jürgen", test.password, fault.Internal},
				{"me@example.com", "wrong", fault.Unauthenticated},
				{"me@example.com", "\u0221 \U0001f600", fault.Unauthenticated},
				{"you@example.com", test.password, fault.Unauthenticated},
			} {
				_, err := v.Verify(t.Context(), try.user, secret.New(try.password), netip.Addr{})
				if kindOf(err) != try.want {
					t.Errorf("Verify(%q, %q) = %v, want kind %d", try.user, try.password, err, try.want)
				}
			}
		})
	}
}

// TestServersFail: what `posthorn check` says where something is wrong.
func TestServersFail(t *testing.T) {
	for _, kind := range []struct {
		name       string
		start      func(testing.TB) *xmpptest.Server
		components Reason // of asking at the port for components
	}{
		{"Prosody", prosody(xmpptest.Options{CertificateNames: []string{"other.example"}}), HostUnknown},
		{"ejabberd", ejabberd(xmpptest.EjabberdOptions{CertificateNames: []string{"other.example"}}), Broken},
	} {
		t.Run(kind.name, func(t *testing.T) { testServerFails(t, kind.start(t), kind.components) })
	}
}

func testServerFails(t *testing.T, p *xmpptest.Server, components Reason) {
	other, err := xmpptest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	named := func(change func(*Host)) func(*Host) {
		return func(h *Host) {
			h.ServerName = "other.example"
			change(h)
		}
	}
	for _, test := range []struct {
		name   string
		change func(*Host)
		want   Reason // empty: nothing is wrong
		hint   string
	}{
		{"the name in the certificate, configured", named(func(*Host) {}), "", ""},
		{"another name in the certificate", func(*Host) {}, Untrusted, "server_name"},
		{"another CA", named(func(h *Host) { h.RootCAs = other.Pool() }), Untrusted, "ca_file"},
		{"the system's CAs", named(func(h *Host) { h.RootCAs = nil }), Untrusted, "ca_file"},
		{"a host it does not serve", named(func(h *Host) { h.Domain = "elsewhere.example" }), HostUnknown, "VirtualHost or hosts line"},
		{"nothing listens", func(h *Host) { h.Address = "127.0.0.1:1" }, Unreachable, "auth.hosts.address"},
		{"the port for components", func(h *Host) { h.Address = p.ComponentAddress }, components, "port for clients"},
		{"TLS where it begins later", named(func(h *Host) { h.TLS = DirectTLS }), TLSFailed, "TLS"},
		{"no TLS where it is required", func(h *Host) { h.TLS = NoTLS }, NoMechanism, "SCRAM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := at(t, p, test.change)
			for domain := range v.hosts {
				_, err := v.Check(t.Context(), domain)
				var probe *ProbeError
				if errors.As(err, &probe); (err == nil) != (test.want == "") || probe != nil && (probe.Reason != test.want || !strings.Contains(probe.Hint(), test.hint)) {
					t.Errorf("Check() = %v, want %s with a hint at %s", err, test.want, test.hint)
				} else if probe != nil {
					t.Logf("%v\nhint: %s", err, probe.Hint())
				}
			}
		})
	}
}

// TestEjabberdDeniesAtBind: SASL succeeds for an account that the listener's
// access rule denies, and the password counts for nothing all the same.
func TestEjabberdDeniesAtBind(t *testing.T) {
	p := xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Extra: "acl: {blocked: {user: blocked}}"})
	p.Users(t, "secret", "me@example.com", "blocked@example.com")
	v := at(t, &p.Server, nil)
	if _, err := v.Verify(t.Context(), "me", secret.New("secret"), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(t.Context(), "blocked", secret.New("secret"), netip.Addr{})
	_, wrong := v.Verify(t.Context(), "blocked", secret.New("wrong"), netip.Addr{})
	if kindOf(err) != fault.Unauthenticated || err.Error() != wrong.Error() {
		t.Errorf("Verify() = %v, and for a wrong password %v", err, wrong)
	}
	if log := p.Log(); !strings.Contains(log, "Forbidden c2s session for blocked@example.com") {
		t.Errorf("it was not the access rule:\n%s", log)
	}
}

// TestEjabberdBans: mod_fail2ban counts every wrong password that posthorn is
// shown as posthorn's own. Where deploy/ejabberd.yml's advice is not followed
// the right password can't be checked any more; it is never taken for a wrong
// one.
func TestEjabberdBans(t *testing.T) {
	for _, test := range []struct {
		name     string
		fail2ban string
		want     fault.Kind
	}{
		{"as Debian has it", "{c2s_max_auth_failures: 20}", fault.Unavailable},
		{"as advised", "", fault.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Fail2ban: test.fail2ban})
			p.Users(t, "secret", "me@example.com")
			v := at(t, &p.Server, nil)
			var wait sync.WaitGroup
			for n := range 30 {
				wait.Go(func() { _, _ = v.Verify(t.Context(), fmt.Sprintf("ghost%d", n), secret.New("wrong"), netip.Addr{}) })
			}
			wait.Wait()
			_, err := v.Verify(t.Context(), "me", secret.New("secret"), netip.Addr{})
			if kindOf(err) != test.want {
				t.Errorf("Verify() = %v, want kind %d", err, test.want)
			}
			report, err := v.Check(t.Context(), xmpptest.Domain)
			var probe *ProbeError
			if banned := errors.As(err, &probe) && probe.Reason == NotNow && strings.Contains(probe.Hint(), "mod_fail2ban"); banned != (test.want == fault.Unavailable) {
				t.Errorf("Check() = %+v, %v", report, err)
			}
		})
	}
}

// TestEjabberdKnowsAnotherHash: an account whose password is stored for another
// hash than the one that the server offers now can be asked about all the same.
func TestEjabberdKnowsAnotherHash(t *testing.T) {
	p := xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Extra: "auth_scram_hash: sha256"})
	p.Users(t, "secret", "me@example.com")
	text, err := os.ReadFile(p.Config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("auth_scram_hash: sha256"), []byte("auth_scram_hash: sha512"), 1)
	if err := errors.Join(os.WriteFile(p.Config, text, 0o600), p.Stop(), p.Start()); err != nil {
		t.Fatal(err)
	}
	v := at(t, &p.Server, nil)
	if report, err := v.Check(t.Context(), xmpptest.Domain); err != nil || report.Mechanism != "SCRAM-SHA-512" {
		t.Errorf("Check() = %+v, %v", report, err)
	}
	for given, want := range map[string]fault.Kind{"secret": fault.Internal, "wrong": fault.Unauthenticated} {
		if _, err := v.Verify(t.Context(), "me", secret.New(given), netip.Addr{}); kindOf(err) != want {
			t.Errorf("Verify(%q) = %v, want kind %d", given, err, want)
		}
	}
}

// TestProsodyKeepsSilent: after a probe its log has no stanza and no password,
// at the level that has everything.
func TestProsodyKeepsSilent(t *testing.T) {
	p := xmpptest.StartProsody(t, xmpptest.Options{LogLevel: "debug"})
	p.Users(t, "hunter2-of-mine", "me@example.com")
	v := at(t, &p.Server, nil)
	if _, err := v.Verify(t.Context(), "me", secret.New("hunter2-of-mine"), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if log := p.Log(); strings.Contains(log, "hunter2-of-mine") || !strings.Contains(log, "me@example.com") {
		t.Errorf("the password is in the log, or the log is not there:\n%s", log)
	}
}

// BenchmarkProbe is what a password costs that is not remembered.
func BenchmarkProbe(b *testing.B) {
	for _, test := range []struct {
		name  string
		start func(testing.TB) *xmpptest.Server
	}{
		{"Prosody, TLS 1.3, SCRAM-SHA-1", prosody(xmpptest.Options{})},
		{"Prosody, TLS 1.2, SCRAM-SHA-1-PLUS", prosody(xmpptest.Options{TLS: `protocol = "tlsv1_2"`})},
		{"ejabberd, TLS 1.3, SCRAM-SHA-1", ejabberd(xmpptest.EjabberdOptions{})},
	} {
		b.Run(test.name, func(b *testing.B) {
			p := test.start(b)
			p.Users(b, "secret", "me@example.com")
			v := at(b, p, nil)
			for b.Loop() {
				if _, err := v.Verify(context.Background(), "me", secret.New("secret"), netip.Addr{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCached is what a password costs that is remembered.
func BenchmarkCached(b *testing.B) {
	account := message.JID("me@example.com")
	v, err := New(Options{Hosts: []Host{{Domain: domain}}, CacheTTL: 1 << 40, CacheSize: 10000})
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	v.cache.put(account, v.cache.mac(account, secret.New(password)), good)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(context.Background(), "me@example.com", secret.New(password), netip.Addr{}); err != nil {
				b.Error(err)
			}
		}
	})
}
