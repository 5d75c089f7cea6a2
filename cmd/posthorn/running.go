package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// health is what a running posthorn says of itself.
type health struct {
	Stream  string
	Store   string
	Version string
	ready   bool
}

// running are the posthorns with this configuration that answer, by their addresses.
type running map[string]health

// ready gives the address of one that can send now, "" where none can.
func (all running) ready() string {
	for address, h := range all {
		if h.ready && h.Stream == "up" {
			return address
		}
	}
	return ""
}

// failing gives the address of one that can keep nothing now, "" where there is none.
func (all running) failing() string {
	for address, h := range all {
		if h.Store == "failing" {
			return address
		}
	}
	return ""
}

func findRunning(ctx context.Context, c *config) running {
	scheme, trust := "http", (*tls.Config)(nil)
	if c.HTTP.TLS.CertFile != "" {
		scheme, trust = "https", trustOnly(c.HTTP.TLS.CertFile)
	}
	all := make(running)
	for _, address := range c.HTTP.Listen {
		if h, answers := askHealth(ctx, address, scheme, trust); answers {
			all[address] = h
		}
	}
	return all
}

// trustOnly accepts the certificate in that file, whatever name it is for.
func trustOnly(file string) *tls.Config {
	text, err := os.ReadFile(file) // #nosec G304 -- who runs posthorn names it
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || len(leaf.DNSNames) == 0 {
		return nil
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: leaf.DNSNames[0]}
	trust.RootCAs.AddCert(leaf)
	return trust
}

// askTimeout bounds a question to a posthorn on this machine.
const askTimeout = 2 * time.Second

func askHealth(ctx context.Context, address, scheme string, trust *tls.Config) (h health, answers bool) {
	status, body := askLocal(ctx, address, scheme, "/readyz", trust)
	err := json.Unmarshal(body, &h)
	h.ready = status == http.StatusOK
	return h, err == nil && h.Stream != ""
}

// askLocal fetches what is small from an address as http.listen has them. The status is 0
// where nobody answers.
func askLocal(ctx context.Context, address, scheme, path string, trust *tls.Config) (status int, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	network, target := "tcp", address
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, target = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, target)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost"+path, nil)
	if err != nil {
		return 0, nil
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	body, _ = io.ReadAll(io.LimitReader(response.Body, 1<<20)) // what was cut off does not parse
	return response.StatusCode, body
}

// metricOf finds a metric without labels in what /metrics answers.
func metricOf(text []byte, name string) (value string, found bool) {
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return value, true
		}
	}
	return "", false
}
