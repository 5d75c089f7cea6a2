package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/auth"
	"posthorn/component"
	"posthorn/httpapi"
	"posthorn/internal/delivery"
	"posthorn/internal/store"
)

// What the configuration means for each package. Nothing here does I/O but
// the reading of CA files.

func (c *config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // validated
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(visibleWriter{w}, options))
	}
	return slog.New(slog.NewTextHandler(w, options)) // which quotes what cannot be seen
}

// A visibleWriter escapes what JSON may have and a terminal obeys, or shows in
// another order: such characters stand in strings alone.
type visibleWriter struct{ w io.Writer }

func (v visibleWriter) Write(line []byte) (int, error) {
	if strings.IndexFunc(string(line), invisible) < 0 {
		return v.w.Write(line)
	}
	var out []byte
	for _, r := range string(line) {
		if !invisible(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, "\\u%04x", unit)
		}
	}
	if _, err := v.w.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}

// invisible reports whether r is none of the characters that print; the line feed
// that ends a line is one of these.
func invisible(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

func (c *config) component(log *slog.Logger, metrics prometheus.Registerer) component.Options {
	return component.Options{
		Domain:         c.Component.Domain,
		Secret:         c.Component.Secret,
		Address:        c.Component.Address,
		Mode:           component.Mode(c.Component.Mode),
		Hosts:          c.domains(),
		MaxStanza:      int(c.Component.MaxStanza),
		ConfirmTimeout: c.Delivery.ConfirmTimeout,
		RoomIdle:       c.Component.RoomIdle,
		Version:        version,
		Log:            log,
		Metrics:        metrics,
	}
}

func (c *config) delivery(stream *component.Component, log *slog.Logger, metrics prometheus.Registerer) delivery.Options {
	return delivery.Options{
		ConfirmTimeout: c.Delivery.ConfirmTimeout,
		Keep:           c.Delivery.Keep,
		MaxKept:        int64(c.Delivery.MaxKept),
		Remember:       c.Delivery.Remember,
		Up:             func() bool { return stream.State() == component.Up },
		Log:            log,
		Metrics:        metrics,
	}
}

func (c *config) store(log *slog.Logger, metrics prometheus.Registerer) store.Options {
	o := c.storeOptions()
	o.Log, o.Metrics = log, metrics
	return o
}

func (c *config) httpapi(stream *component.Component, keeper *store.Store, log *slog.Logger, metrics prometheus.Registerer) httpapi.Options {
	return httpapi.Options{
		Path:            c.HTTP.Path,
		MaxBody:         int64(c.HTTP.MaxBody),
		Hosts:           c.domains(),
		ComponentDomain: c.Component.Domain,
		CORSOrigins:     c.HTTP.CORSOrigins,
		RecipientsLocal: c.Policy.Recipients == "local",
		Senders:         c.Policy.Senders,
		Version:         version,

		TrustedProxies:    c.proxies.networks,
		TrustUnix:         c.proxies.unix,
		MessagesPerSecond: c.Limits.MessagesPerSecond,
		Burst:             c.Limits.Burst,

		MaxAttachment: int64(c.HTTP.MaxFile),
		SpoolDir:      spoolDir(os.Getenv("TMPDIR")),

		Stream:  func() string { return stream.State().String() },
		Store:   func() string { return storeState(keeper) },
		Ready:   func() bool { return stream.Ready() || storeState(keeper) == "ok" },
		Log:     log,
		Metrics: metrics,
	}
}

// storeState is how the store is, in the words of /healthz.
func storeState(s *store.Store) string {
	switch {
	case s == nil:
		return "off"
	case s.Failure() != nil:
		return "failing"
	}
	return "ok"
}

func (c *config) auth(log *slog.Logger, metrics prometheus.Registerer) (auth.Options, error) {
	options := auth.Options{
		DefaultDomain: c.Auth.DefaultDomain,
		CacheTTL:      c.Auth.Cache.TTL,
		StaleTTL:      c.Auth.Cache.StaleTTL,
		CacheSize:     c.Auth.Cache.Size,
		Failures:      c.Auth.Throttle.Failures,
		Window:        c.Auth.Throttle.Window,
		Log:           log,
		Metrics:       metrics,
	}
	for _, h := range c.Auth.Hosts {
		host, err := h.auth()
		if err != nil {
			return options, err
		}
		options.Hosts = append(options.Hosts, host)
	}
	return options, nil
}

var tlsModes = map[string]auth.TLSMode{"starttls": auth.StartTLS, "direct": auth.DirectTLS, "none": auth.NoTLS}

func (h hostConfig) auth() (auth.Host, error) {
	host := auth.Host{Domain: h.Domain, Address: h.Address, TLS: tlsModes[h.TLS], ServerName: h.ServerName}
	if h.CAFile == "" {
		return host, nil
	}
	var err error
	if host.RootCAs, err = readCAs(h.CAFile); err != nil {
		return host, fmt.Errorf("ca_file: %w", err)
	}
	return host, nil
}

func readCAs(file string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	return pool, addCAs(pool, file)
}

// addCAs lets a pool trust the authorities in a file as well.
func addCAs(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file) // #nosec G304 -- who runs posthorn names it
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return errors.New("has no certificate in PEM form")
	}
	return nil
}

// check reports what package auth would refuse.
func (h hostConfig) check() error {
	host, err := h.auth()
	if err != nil {
		return err
	}
	_, err = auth.New(auth.Options{Hosts: []auth.Host{host}})
	return err
}
