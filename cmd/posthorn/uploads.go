package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/component"
	"posthorn/internal/message"
	"posthorn/internal/upload"
)

// slots are where places for files are asked for: two packages that do not know each
// other mean the same by one.
type slots struct{ *component.Component }

func (s slots) RequestSlot(ctx context.Context, from message.JID, f message.File) (upload.Slot, error) {
	slot, err := s.Component.RequestSlot(ctx, from, f)
	return upload.Slot(slot), err
}

// uploads makes what uploads files, nil where none are sent. A host's upload service may
// have a certificate of the authority that its XMPP server has, or one that everybody
// knows.
func (c *config) uploads(places landlord, metrics prometheus.Registerer) (*upload.Uploader, error) {
	if c.HTTP.MaxFile == 0 {
		return nil, nil
	}
	options := upload.Options{Roots: make(map[string]*x509.CertPool), Metrics: metrics}
	for _, h := range c.Auth.Hosts {
		if h.CAFile == "" {
			continue
		}
		pool, err := x509.SystemCertPool()
		if err != nil { // there is none
			pool = x509.NewCertPool()
		}
		if err := addCAs(pool, h.CAFile); err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		options.Roots[h.Domain] = pool
	}
	return upload.New(options, places), nil
}

// spoolDir is where files are while they are under way: the directory that the
// environment names, or the one that is meant for large files (file-hierarchy(7)).
// systemd gives a service its own by PrivateTmp=.
func spoolDir(named string) string {
	if named != "" {
		return named
	}
	const large = "/var/tmp"
	if info, err := os.Stat(large); err == nil && info.IsDir() {
		return large
	}
	return os.TempDir()
}
