package auth

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// dns answers SRV queries by service.
type dns map[string][]*net.SRV

func (d dns) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if proto != "tcp" || name != "example.com" && name != "xn--bcher-kva.example" {
		return "", nil, errors.New("asked for " + proto + " " + name)
	}
	if d[service] == nil {
		return "", nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return name, d[service], nil
}

func TestTargets(t *testing.T) {
	direct := &net.SRV{Target: "d.example.net.", Port: 443, Priority: 5}
	first := &net.SRV{Target: "a.example.net.", Port: 5222, Priority: 1}
	second := &net.SRV{Target: "b.example.net.", Port: 5269, Priority: 5}
	nowhere := &net.SRV{Target: "."}
	for _, test := range []struct {
		name string
		host Host
		dns  dns
		want []target // nil: there is no service
	}{
		{"address", Host{Address: "h:1"}, nil, []target{{"h:1", StartTLS}}},
		{"address without a port", Host{Address: "h"}, nil, []target{{"h:5222", StartTLS}}},
		{"the same, direct", Host{Address: "h", TLS: DirectTLS}, nil, []target{{"h:5223", DirectTLS}}},
		{"IPv6", Host{Address: "::1", TLS: NoTLS}, nil, []target{{"[::1]:5222", NoTLS}}},
		{"IPv6 in brackets", Host{Address: "[2001:db8::1]"}, nil, []target{{"[2001:db8::1]:5222", StartTLS}}},
		{"IPv6 with a port", Host{Address: "[::1]:1"}, nil, []target{{"[::1]:1", StartTLS}}},
		{"no records", Host{}, dns{}, []target{{"example.com:5222", StartTLS}}},
		{"no records, direct", Host{TLS: DirectTLS}, dns{}, []target{{"example.com:5223", DirectTLS}}},
		{"no records, letters", Host{Domain: "bücher.example"}, dns{}, []target{{"xn--bcher-kva.example:5222", StartTLS}}},
		{"records", Host{}, dns{"xmpps-client": {direct}, "xmpp-client": {first, second}},
			[]target{{"a.example.net:5222", StartTLS}, {"d.example.net:443", DirectTLS}, {"b.example.net:5269", StartTLS}}},
		{"records, direct", Host{TLS: DirectTLS}, dns{"xmpps-client": {direct}, "xmpp-client": {first}}, []target{{"d.example.net:443", DirectTLS}}},
		{"one is not here", Host{}, dns{"xmpps-client": {nowhere}, "xmpp-client": {first}}, []target{{"a.example.net:5222", StartTLS}}},
		{"none is here", Host{}, dns{"xmpps-client": {nowhere}, "xmpp-client": {nowhere}}, nil},
		{"not here", Host{}, dns{"xmpp-client": {nowhere}}, nil},
	} {
		if test.host.Domain == "" {
			test.host.Domain = "example.com"
		}
		got, err := dialer{resolver: test.dns}.targets(t.Context(), test.host)
		if !reflect.DeepEqual(got, test.want) || (err == nil) == (test.want == nil) {
			t.Errorf("%s: targets() = %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}

// TestSilentTarget: one address that does not answer leaves time for the next.
func TestSilentTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), 0), func(o *Options) {
			o.Hosts[0].Address = ""
			o.Resolver = dns{"xmpps-client": {{Target: "silent.", Port: 1}, {Target: "closed.", Port: 2}, {Target: "right.", Port: 3}}}
			dial := o.Dial
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				switch address {
				case "silent:1":
					<-ctx.Done()
					return nil, ctx.Err()
				case "closed:2":
					return nil, errors.New("connection refused")
				}
				return dial(ctx, network, address)
			}
		})
		began := time.Now()
		if err := r.verify(password); err != nil || time.Since(began) > probeTimeout/3 {
			t.Errorf("Verify() = %v after %v", err, time.Since(began))
		}
		r.done()
	})
}

// TestCheck: what `posthorn check` shows, and that it says nothing more than
// who it asks for.
func TestCheck(t *testing.T) {
	refuse := func(o *Options) {
		o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
	}
	for _, test := range []struct {
		name   string
		domain string
		mode   TLSMode
		script func(*peer)
		change func(*Options)
		want   Report
		reason Reason
	}{
		{"fine", "Example.com", StartTLS, func(p *peer) {
			p.open(startTLS)
			p.hear(startTLS)
			p.say(proceed)
			p.encrypt()
			p.open(mechanisms("PLAIN", "SCRAM-SHA-1"))
			p.end()
		}, nil, Report{domain, "127.0.0.1:5222", "TLS 1.3", time.Time{}, []string{"PLAIN", "SCRAM-SHA-1"}, "SCRAM-SHA-1"}, ""},
		{"no mechanism", domain, DirectTLS, func(p *peer) {
			if got := p.encrypt().NegotiatedProtocol; got != "xmpp-client" {
				t.Errorf("ALPN %q", got)
			}
			p.open(mechanisms("EXTERNAL"))
			p.end()
		}, nil, Report{domain, "127.0.0.1:5223", "TLS 1.3", time.Time{}, []string{"EXTERNAL"}, ""}, NoMechanism},
		{"in clear", domain, NoTLS, func(p *peer) {
			p.open(mechanisms("SCRAM-SHA-1"))
			p.end()
		}, nil, Report{domain, "127.0.0.1:5222", "", time.Time{}, []string{"SCRAM-SHA-1"}, "SCRAM-SHA-1"}, ""},
		{"nothing listens", domain, StartTLS, nil, refuse, Report{Domain: domain}, Unreachable},
		{"not configured", "other.example", StartTLS, nil, nil, Report{Domain: "other.example"}, HostUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				change := test.change
				if change == nil {
					change = func(*Options) {}
				}
				r := newRig(t, test.mode, test.script, change)
				got, err := r.Check(t.Context(), test.domain)
				r.note(err)
				r.done()
				if got.Expires.IsZero() != (got.TLS == "") {
					t.Errorf("the certificate ends at %v", got.Expires)
				}
				got.Expires = time.Time{}
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("Check() = %+v, want %+v", got, test.want)
				}
				var probe *ProbeError
				if errors.As(err, &probe); (test.reason == "") != (err == nil) || probe != nil && probe.Reason != test.reason {
					t.Errorf("Check() = %v, want %s", err, test.reason)
				}
			})
		})
	}
}

// TestReasons: each has a hint of its own and a label, and none speaks of what
// a sender could do.
func TestReasons(t *testing.T) {
	seen := map[string]Reason{}
	for _, r := range reasons {
		hint := (&ProbeError{Reason: r, Err: errors.New("x")}).Hint()
		if other, twice := seen[hint]; twice && r != Busy {
			t.Errorf("%s and %s have one hint", r, other)
		}
		if seen[hint] = r; hint == "" || strings.ContainsAny(string(r), " -") {
			t.Errorf("%q: %q", r, hint)
		}
	}
}
