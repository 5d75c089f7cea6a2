package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// lookEvery is how soon a renewed certificate is noticed, without a signal.
const lookEvery = 2 * time.Second

// A certificate is the pair of files of http.tls. Whoever renews them need not know
// of posthorn: they are read again when they change.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	pair atomic.Pointer[tls.Certificate]
	read look // as the files were when they were last read; owned by keep
}

// A look is how the two files are, or where links of their names lead: nil is no file.
type look [2]os.FileInfo

func (c *certificate) look() (now look) {
	for i, file := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(file); err == nil {
			now[i] = info
		}
	}
	return now
}

// same reports whether a file is the one that it was. Its time alone does not tell:
// two files may be made within one tick of the kernel's clock.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// openCertificate gives nil where there is none to read.
func openCertificate(c *config, log *slog.Logger) (*certificate, error) {
	if c.HTTP.TLS.CertFile == "" {
		return nil, nil
	}
	files := &certificate{certFile: c.HTTP.TLS.CertFile, keyFile: c.HTTP.TLS.KeyFile, log: log}
	if err := files.load(files.look()); err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	return files, nil
}

// settings are those of a listener. Connections that exist keep what they have
// agreed on.
func (c *certificate) settings() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}

// keep reads the files again when they have changed and with each hangup, until
// ctx ends.
func (c *certificate) keep(ctx context.Context, hangups <-chan os.Signal) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if now := c.look(); !same(now[0], c.read[0]) || !same(now[1], c.read[1]) {
				c.reload(now, "its files have changed")
			}
		case <-hangups:
			c.reload(c.look(), "SIGHUP")
		case <-ctx.Done():
			return
		}
	}
}

// reload keeps the pair in use where the files hold none, as while they are being
// replaced. It says so once: they are not read again before they change.
func (c *certificate) reload(now look, reason string) {
	if err := c.load(now); err != nil {
		c.log.Warn("http.tls: what the files hold cannot be used, and the certificate in use stays", "reason", reason, "err", err)
		return
	}
	c.log.Info("http.tls: the certificate was read again", "reason", reason)
}

// load reads the files. They are marked as they were before: what is written
// meanwhile is a change.
func (c *certificate) load(now look) error {
	c.read = now
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair.Store(&pair)
	return nil
}
