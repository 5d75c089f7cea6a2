package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// errRefused is the server's verdict that the credentials are wrong; every
// other error means that there is no verdict.
var errRefused = errors.New("refused")

var errQueueFull = errors.New("too many wait for a turn to ask")

// A Reason says at which step a server could not be asked. It is a metric
// label: the list is closed.
type Reason string

const (
	Unreachable Reason = "unreachable"  // nothing listens there, or no such name
	Untrusted   Reason = "untrusted"    // the certificate does not verify
	TLSFailed   Reason = "tls_failed"   // TLS is not offered, or its handshake fails
	HostUnknown Reason = "host_unknown" // the server does not serve the domain
	NoMechanism Reason = "no_mechanism" // none that it offers can be used here
	NotNow      Reason = "not_now"      // the server says so
	Broken      Reason = "broken"       // the connection ended, or what came was no XMPP
	Timeout     Reason = "timeout"      // no answer in time
	Busy        Reason = "busy"         // no turn to ask in time
)

// reasons is the closed list, for the metrics and the tests.
var reasons = []Reason{Unreachable, Untrusted, TLSFailed, HostUnknown, NoMechanism, NotNow, Broken, Timeout, Busy}

// A ProbeError says why a server could not be asked. It is for the log and for
// `posthorn check`, not for who wants to send.
type ProbeError struct {
	Reason  Reason
	Address string // where; empty before there was a connection
	Err     error
}

func (e *ProbeError) Error() string {
	if e.Address == "" {
		return fmt.Sprintf("auth: %s: %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("auth: %s: %s: %v", e.Address, e.Reason, e.Err)
}

func (e *ProbeError) Unwrap() error { return e.Err }

// Hint is what an operator can change, in one line.
func (e *ProbeError) Hint() string {
	switch e.Reason {
	case Unreachable:
		return "is the server running, and does it listen for clients there? set auth.hosts.address to host:port"
	case Untrusted:
		return untrustedHint(e.Err)
	case TLSFailed:
		return "let the server offer TLS to clients (a certificate for the domain), or set auth.hosts.tls to direct for a port that begins with TLS"
	case HostUnknown:
		return "no server there serves this domain: compare auth.hosts.domain with the VirtualHost or hosts line of the server, and auth.hosts.address with its port for clients"
	case NoMechanism:
		return "let the server offer SCRAM, or PLAIN inside TLS; one that requires TLS offers nothing without: then auth.hosts.tls cannot be none"
	case NotNow:
		return "the server refuses to be asked: see its log, and exempt posthorn's address from its login limits (mod_fail2ban on ejabberd: posthorn server-config ejabberd prints how)"
	case Broken:
		return "is that an XMPP server's port for clients? see its log; direct TLS needs auth.hosts.tls: direct"
	}
	return "is a firewall in the way, or the server overloaded?"
}

func untrustedHint(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return "the certificate is for another name: get one for the domain, or set auth.hosts.server_name to the name it has"
	case errors.As(err, &authority):
		return "nobody known has signed the certificate: set auth.hosts.ca_file to the CA's certificate, or to the server's own when it is self-signed"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid at this time: renew it, or set the clock"
	}
	return "get a certificate that verifies, or set auth.hosts.ca_file"
}

// reasonOf sorts an error of the network or of TLS; otherwise is for what it
// does not know.
func reasonOf(err error, otherwise Reason) Reason {
	var known *ProbeError
	var certificate *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.As(err, &known):
		return known.Reason
	case errors.As(err, &certificate):
		return Untrusted
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return otherwise
}

// shorten keeps what a stranger wrote from filling the log.
func shorten(s string) string { return fmt.Sprintf("%.200q", s) }
