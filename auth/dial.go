package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// aLongTimeAgo is a deadline that ends reads and writes under way.
var aLongTimeAgo = time.Unix(1, 0)

// A dialer finds servers. Immutable.
type dialer struct {
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	resolver Resolver
}

// open leads h's server to where it offers SASL. Its error is a *ProbeError.
func (d dialer) open(ctx context.Context, h Host) (*session, error) {
	targets, err := d.targets(ctx, h)
	if err != nil {
		return nil, &ProbeError{Unreachable, "", err}
	}
	conn, at, err := d.connect(ctx, targets)
	if err != nil {
		return nil, &ProbeError{reasonOf(err, Unreachable), "", err}
	}
	if at.tls == NoTLS && !loopback(conn) {
		_ = conn.Close()
		return nil, &ProbeError{TLSFailed, at.address, errors.New("no TLS, and that is another machine")}
	}
	s := newSession(ctx, conn, h.Domain, at.address)
	config := &tls.Config{ServerName: h.serverName(), RootCAs: h.RootCAs, MinVersion: tls.VersionTLS12}
	if err := s.negotiate(ctx, at.tls, config); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// connect takes the first target that answers. Each gets its share of the time
// that is left, so that a silent one does not use it up.
func (d dialer) connect(ctx context.Context, targets []target) (net.Conn, target, error) {
	var failed []error
	for i, at := range targets {
		conn, err := d.connectTo(ctx, at, len(targets)-i)
		if err == nil {
			return conn, at, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", at.address, err))
	}
	return nil, target{}, errors.Join(failed...)
}

func (d dialer) connectTo(ctx context.Context, at target, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	return d.dial(ctx, "tcp", at.address)
}

// loopback looks at where the connection went: the name localhost means what
// the resolver says.
func loopback(conn net.Conn) bool {
	address, isTCP := conn.RemoteAddr().(*net.TCPAddr)
	return !isTCP || address.IP.IsLoopback()
}
