package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
	"posthorn/internal/xmpptest"
)

// at is a Verifier that asks p, and remembers nothing.
func at(tb testing.TB, p *xmpptest.Prosody, change func(*Host)) *Verifier {
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

// TestProsody asks a real one, in each way in which it can be set up.
func TestProsody(t *testing.T) {
	direct := func(p *xmpptest.Prosody) func(*Host) {
		return func(h *Host) { h.Address, h.TLS = p.DirectTLSAddress, DirectTLS }
	}
	for _, test := range []struct {
		name    string
		options xmpptest.Options
		host    func(*xmpptest.Prosody) func(*Host)
		want    Report // Address is not compared
	}{
		{"as installed", xmpptest.Options{}, nil, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-1"}},
		{"direct TLS", xmpptest.Options{}, direct, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-1"}},
		{"TLS 1.2", xmpptest.Options{TLS: `protocol = "tlsv1_2"`}, nil, Report{TLS: "TLS 1.2", Mechanism: "SCRAM-SHA-1-PLUS"}},
		{"TLS 1.2, direct", xmpptest.Options{TLS: `protocol = "tlsv1_2"`}, direct, Report{TLS: "TLS 1.2", Mechanism: "SCRAM-SHA-1-PLUS"}},
		{"SCRAM-SHA-256", xmpptest.Options{PlainPasswords: true}, nil, Report{TLS: "TLS 1.3", Mechanism: "SCRAM-SHA-256"}},
		{"PLAIN alone", xmpptest.Options{Global: `disable_sasl_mechanisms = { "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS" }`}, nil, Report{TLS: "TLS 1.3", Mechanism: "PLAIN"}},
		{"without TLS", xmpptest.Options{Global: `c2s_require_encryption = false`}, func(*xmpptest.Prosody) func(*Host) {
			return func(h *Host) { h.TLS = NoTLS }
		}, Report{Mechanism: "SCRAM-SHA-1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := xmpptest.StartProsody(t, test.options)
			// The password has a letter that SASLprep does not know.
			p.Users(t, password, "me@example.com", "jürgen@example.com")
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
				{"me@example.com", password, fault.Internal},
				{"jürgen", password, fault.Internal},
				{"me@example.com", "wrong", fault.Unauthenticated},
				{"me@example.com", "\u0221 \U0001f600", fault.Unauthenticated},
				{"you@example.com", password, fault.Unauthenticated},
			} {
				_, err := v.Verify(t.Context(), try.user, secret.New(try.password))
				if kindOf(err) != try.want {
					t.Errorf("Verify(%q, %q) = %v, want kind %d", try.user, try.password, err, try.want)
				}
			}
		})
	}
}

// TestProsodyFails: what `posthorn check` says where something is wrong.
func TestProsodyFails(t *testing.T) {
	p := xmpptest.StartProsody(t, xmpptest.Options{CertificateNames: []string{"other.example"}})
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
		{"a host it does not serve", named(func(h *Host) { h.Domain = "elsewhere.example" }), HostUnknown, "VirtualHost"},
		{"nothing listens", func(h *Host) { h.Address = "127.0.0.1:1" }, Unreachable, "auth.hosts.address"},
		{"the port for components", func(h *Host) { h.Address = p.ComponentAddress }, HostUnknown, "port for clients"},
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

// TestProsodyKeepsSilent: after a probe its log has no stanza and no password,
// at the level that has everything.
func TestProsodyKeepsSilent(t *testing.T) {
	p := xmpptest.StartProsody(t, xmpptest.Options{LogLevel: "debug"})
	p.Users(t, "hunter2-of-mine", "me@example.com")
	v := at(t, p, nil)
	if _, err := v.Verify(t.Context(), "me", secret.New("hunter2-of-mine")); err != nil {
		t.Fatal(err)
	}
	if log := p.Log(); strings.Contains(log, "hunter2-of-mine") || !strings.Contains(log, "me@example.com") {
		t.Errorf("the password is in the log, or the log is not there:\n%s", log)
	}
}

// BenchmarkProbe is what a password costs that is not remembered.
func BenchmarkProbe(b *testing.B) {
	for name, tls := range map[string]string{"TLS 1.3, SCRAM-SHA-1": "", "TLS 1.2, SCRAM-SHA-1-PLUS": `protocol = "tlsv1_2"`} {
		b.Run(name, func(b *testing.B) {
			p := xmpptest.StartProsody(b, xmpptest.Options{TLS: tls})
			p.Users(b, password, "me@example.com")
			v := at(b, p, nil)
			for b.Loop() {
				if _, err := v.Verify(context.Background(), "me", secret.New(password)); err != nil {
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
			if _, err := v.Verify(context.Background(), "me@example.com", secret.New(password)); err != nil {
				b.Error(err)
			}
		}
	})
}
