// Package xmpptest runs the real thing for tests and for `make demo`: a
// Prosody of its own in a temporary directory, and a client that logs in to it.
//
//  1. Open writes certificates of an authority of its own, and a configuration
//     for free ports of 127.0.0.1 that includes deploy/prosody.cfg.lua, the
//     very lines an administrator adds. Options edit them.
//  2. Start starts Prosody and waits until its ports answer; Stop, Kill, Pause
//     and Resume do to it what machines do to servers.
//  3. AddUser makes accounts, by prosodyctl.
//  4. A Proxy before it stalls, delays, cuts and resets connections.
//  5. Login is a user's client: STARTTLS, SASL and resource binding by
//     mellium.im/xmpp, which is none of ours, so that what posthorn says is
//     judged by somebody else.
//
// Nothing here needs package testing except tb.go, which does the same for a
// test: it fails the test in place of returning an error, puts the server's log
// into the test's log when the test has failed, and cleans up.
//
// It does not script peers: those stand beside the packages they talk to.
package xmpptest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Prosody is a server in a directory of its own. One goroutine at a time
// starts and stops it; everything else may be called by many.
type Prosody struct {
	// Immutable after Open.
	Dir              string // everything it has, removed by Close
	Config           string // its configuration file
	ClientAddress    string // host:port for clients, STARTTLS
	DirectTLSAddress string // host:port for clients, TLS at once
	ComponentAddress string // host:port for components
	CA               *CA    // the authority of its certificate
	CAFile           string // the same, PEM

	hasComponent bool // else it does not listen on ComponentAddress
	process      *Process
}

// Open makes the directory and starts the server in it. Close ends both.
func Open(o Options) (*Prosody, error) {
	if err := installed("prosody", "prosodyctl"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "posthorn-prosody-")
	if err != nil {
		return nil, err
	}
	p := &Prosody{Dir: dir}
	if err := p.prepare(o); err != nil {
		return nil, errors.Join(fmt.Errorf("xmpptest: prepare prosody: %w", err), p.Close())
	}
	if err := p.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.Log()), p.Close())
	}
	return p, nil
}

func installed(programs ...string) error {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("xmpptest: %s is not installed: run `make deps`, or install the packages prosody and prosody-modules", name)
		}
	}
	return nil
}

// prepare writes everything that Start needs.
func (p *Prosody) prepare(o Options) error {
	if len(o.Hosts) == 0 {
		o.Hosts = []Host{{Domain: Domain}}
	}
	v := baseValues{Options: o, Dir: p.Dir}
	for _, port := range []*int{&v.ClientPort, &v.DirectPort, &v.CompPort} {
		var err error
		if *port, err = FreePort(); err != nil {
			return err
		}
	}
	p.ClientAddress = loopback(v.ClientPort)
	p.DirectTLSAddress = loopback(v.DirectPort)
	p.ComponentAddress = loopback(v.CompPort)
	p.Config = filepath.Join(p.Dir, "prosody.cfg.lua")
	for _, sub := range []string{"data", "certs"} {
		if err := os.Mkdir(filepath.Join(p.Dir, sub), 0o700); err != nil {
			return err
		}
	}
	if err := p.certify(o); err != nil {
		return err
	}
	lines, err := componentConfig(o.Component)
	if err != nil {
		return err
	}
	p.hasComponent = strings.Contains(lines+o.Extra, "component_secret")
	return writeConfig(p.Config, lines, v)
}

// certify makes the authority and the server's certificate.
func (p *Prosody) certify(o Options) error {
	names := o.CertificateNames
	if names == nil {
		for _, h := range o.Hosts {
			names = append(names, h.Domain)
		}
	}
	var err error
	if p.CA, err = NewCA(); err != nil {
		return err
	}
	p.CAFile = filepath.Join(p.Dir, "ca.pem")
	if err := os.WriteFile(p.CAFile, p.CA.PEM(), 0o600); err != nil {
		return err
	}
	certificate, err := p.CA.Issue(append([]string{"127.0.0.1"}, names...)...)
	if err != nil {
		return err
	}
	certs := filepath.Join(p.Dir, "certs")
	return writeCertificate(certificate, filepath.Join(certs, "server.crt"), filepath.Join(certs, "server.key"))
}

// Close ends the server and removes its directory. It kills: an orderly stop
// takes Prosody up to a second, and nobody will read what it would save.
func (p *Prosody) Close() error {
	return errors.Join(p.Kill(), os.RemoveAll(p.Dir))
}
