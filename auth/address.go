package auth

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// A Host is a domain whose users may send, and where its server is.
type Host struct {
	Domain     string
	Address    string // host or host:port; empty: by DNS
	TLS        TLSMode
	RootCAs    *x509.CertPool // nil: the system's
	ServerName string         // the name in the certificate; default: Domain
}

// A TLSMode says when TLS begins. There is none without verification.
type TLSMode int

const (
	StartTLS  TLSMode = iota // on the client port, before anything is said
	DirectTLS                // from the first byte (XEP-0368)
	NoTLS                    // never: only to this machine itself
)

// A Resolver finds SRV records; *net.Resolver is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// A target is one place at which a host's server may listen.
type target struct {
	address string // host:port
	tls     TLSMode
}

var errNoService = errors.New("DNS says that the domain has no client service (an SRV record with the target '.')")

// check refuses what would send a password in clear over a network.
func (h Host) check() error {
	if h.TLS != NoTLS {
		return nil
	}
	host, _, _ := net.SplitHostPort(withPort(h.Address, NoTLS))
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("no TLS only to a loopback address, not to %q", h.Address)
}

// serverName is the name that the certificate must be for. It is never taken
// from DNS: who can forge a record could else bring a certificate of their own
// (RFC 6120 §13.7.2.1).
func (h Host) serverName() string {
	if h.ServerName != "" {
		return h.ServerName
	}
	return ascii(h.Domain)
}

// targets are the places to try, in order (RFC 6120 §3.2).
func (d dialer) targets(ctx context.Context, h Host) ([]target, error) {
	if h.Address != "" {
		return []target{{withPort(h.Address, h.TLS), h.TLS}}, nil
	}
	records, refused := d.records(ctx, h)
	if len(records) > 0 {
		return records, nil
	}
	if refused {
		return nil, errNoService
	}
	return []target{{withPort(ascii(h.Domain), h.TLS), h.TLS}}, nil
}

// records asks DNS. A failed query counts as no record, as RFC 6120 §3.2.1
// has it; refused tells that there was a record, and it said "not here".
func (d dialer) records(ctx context.Context, h Host) (found []target, refused bool) {
	services := []struct {
		name string
		tls  TLSMode
	}{{"xmpps-client", DirectTLS}, {"xmpp-client", StartTLS}}
	if h.TLS == DirectTLS {
		services = services[:1]
	}
	type record struct {
		target
		priority uint16
	}
	var records []record
	for _, service := range services {
		_, srvs, _ := d.resolver.LookupSRV(ctx, service.name, "tcp", ascii(h.Domain))
		for _, srv := range srvs {
			host := strings.TrimSuffix(srv.Target, ".")
			if host == "" {
				refused = true
				continue
			}
			address := net.JoinHostPort(host, strconv.Itoa(int(srv.Port)))
			records = append(records, record{target{address, service.tls}, srv.Priority})
		}
	}
	// XEP-0368 §3: the priorities of both services are one order. Direct TLS
	// goes first where they are equal: it saves a round trip.
	slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.priority, b.priority) })
	for _, r := range records {
		found = append(found, r.target)
	}
	return found, refused
}

// withPort adds the registered port where address has none.
func withPort(address string, tls TLSMode) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	port := "5222"
	if tls == DirectTLS {
		port = "5223"
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// ascii is a domain as DNS and certificates have it.
func ascii(domain string) string {
	if a, err := idna.ToASCII(domain); err == nil {
		return a
	}
	return domain
}
