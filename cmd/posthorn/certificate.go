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
	read [2]mark // as the files were when they were last read; owned by keep
}

// A mark tells whether a file, or where a link leads, is what it was.
type mark struct{ changed, size int64 }

func markOf(file string) mark {
	info, err := os.Stat(file)
	if err != nil {
		return mark{}
	}
	return mark{changed: info.ModTime().UnixNano(), size: info.Size()}
}

// openCertificate gives nil where there is none to read.
func openCertificate(c *config, log *slog.Logger) (*certificate, error) {
	if c.HTTP.TLS.CertFile == "" {
		return nil, nil
	}
	files := &certificate{certFile: c.HTTP.TLS.CertFile, keyFile: c.HTTP.TLS.KeyFile, log: log}
	if err := files.load(files.marks()); err != nil {
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
			if now := c.marks(); now != c.read {
				c.reload(now, "its files have changed")
			}
		case <-hangups:
			c.reload(c.marks(), "SIGHUP")
		case <-ctx.Done():
			return
		}
	}
}

// reload keeps the pair in use where the files hold none, as while they are being
// replaced. It says so once: they are not read again before they change.
func (c *certificate) reload(now [2]mark, reason string) {
	if err := c.load(now); err != nil {
		c.log.Warn("http.tls: what the files hold cannot be used, and the certificate in use stays", "reason", reason, "err", err)
		return
	}
	c.log.Info("http.tls: the certificate was read again", "reason", reason)
}

// load reads the files. They are marked as they were before: what is written
// meanwhile is a change.
func (c *certificate) load(now [2]mark) error {
	c.read = now
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair.Store(&pair)
	return nil
}

func (c *certificate) marks() [2]mark { return [2]mark{markOf(c.certFile), markOf(c.keyFile)} }
