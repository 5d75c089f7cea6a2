package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/net/netutil"
)

// apiListeners gives what systemd has passed, else what http.listen names, with TLS
// where there is a certificate.
func apiListeners(c *config, files *certificate, log *slog.Logger) ([]net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	listeners = slices.DeleteFunc(listeners, func(l net.Listener) bool { return l == nil }) // what is no socket
	if len(listeners) == 0 {
		if listeners, err = listenAll(c.HTTP.Listen); err != nil {
			return nil, fmt.Errorf("http.listen: %w", err)
		}
	}
	most := maxConnections() / max(len(listeners), 1)
	for i, l := range listeners {
		listeners[i] = netutil.LimitListener(l, most)
		if files != nil {
			listeners[i] = tls.NewListener(listeners[i], files.settings())
		} else if !staysHere(l.Addr()) {
			log.Warn("passwords and texts cross the network in clear: listen on 127.0.0.1 behind a reverse proxy with TLS, or set http.tls", "addr", l.Addr().String())
		}
	}
	return listeners, nil
}

// staysHere reports whether only this machine reaches an address.
func staysHere(address net.Addr) bool {
	tcp, isTCP := address.(*net.TCPAddr)
	return !isTCP || tcp.IP.IsLoopback()
}

// maxConnections leaves a quarter of the descriptors to the stream, the probes
// and the metrics, so that idle connections cannot take them all.
func maxConnections() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 768
	}
	return int(min(limit.Cur, 1<<20) / 4 * 3)
}

func listenAll(addresses []string) (all []net.Listener, err error) {
	for _, address := range addresses {
		l, err := listen(address)
		if err != nil {
			for _, open := range all {
				_ = open.Close()
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		return net.Listen("tcp", address)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o660) // #nosec G302 -- for the reverse proxy's group
}

// abandoned reports whether a socket's file was left by a process that died.
func abandoned(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
