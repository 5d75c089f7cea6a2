package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// A Report is what a server says before anybody logs in.
type Report struct {
	Domain     string
	Address    string    // where it answered
	TLS        string    // the version, as in "TLS 1.3"; empty without TLS
	Expires    time.Time // when its certificate, or one that signed it, ends; zero without TLS
	Mechanisms []string  // offered, as the server wrote them
	Mechanism  string    // the one that a check of a password would use
}

// Check goes the way of a probe for one host up to where the credentials
// would be sent, and sends none. The error is a *ProbeError, whose Hint says
// what to change; what is known by then stands in the Report.
func (v *Verifier) Check(ctx context.Context, domain string) (Report, error) {
	if normal, err := normalDomain(domain); err == nil {
		domain = normal
	}
	report := Report{Domain: domain}
	host, served := v.hosts[domain]
	if !served {
		return report, &ProbeError{HostUnknown, "", errors.New("not one of the configured hosts")}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s, err := v.dialer.open(ctx, host)
	if err != nil {
		return report, err
	}
	defer s.close()
	report.Address, report.Mechanisms = s.address, s.offered()
	if s.tls != nil {
		report.TLS, report.Expires = tls.VersionName(s.tls.Version), expiry(s.tls.VerifiedChains)
	}
	usable := s.usable()
	if len(usable) == 0 {
		return report, s.noMechanism()
	}
	report.Mechanism = usable[0].name
	return report, nil
}

// expiry is when the last of the chains by which a certificate was verified breaks.
func expiry(chains [][]*x509.Certificate) (last time.Time) {
	for _, chain := range chains {
		ends := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(ends) {
				ends = c.NotAfter
			}
		}
		if ends.After(last) {
			last = ends
		}
	}
	return last
}
