package xmpptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startTimeout bounds how long a server may take until its ports answer.
// Prosody needs half a second, ejabberd a second; the rest is for a busy
// machine.
const startTimeout = 30 * time.Second

// A Server is a Prosody or an ejabberd in a directory of its own: what a test
// needs of either. One goroutine at a time starts and stops it; everything else
// may be called by many.
type Server struct {
	// Immutable after Open.
	Name             string // "Prosody" or "ejabberd"
	Dir              string // everything it has, removed by Close
	Config           string // its configuration file
	ClientAddress    string // host:port for clients, STARTTLS
	DirectTLSAddress string // host:port for clients, TLS at once
	ComponentAddress string // host:port for components
	UploadAddress    string // host:port of the upload service, HTTPS, where there is one
	CA               *CA    // the authority of its certificate
	CAFile           string // the same, PEM

	accounts  accounts
	command   func() *exec.Cmd // to run it in the foreground
	listening []string         // the addresses that answer when it is up
	portTaken string           // what it logs when it cannot have one of them
	process   *Process
}

// accounts are how a kind of server is told who has one.
type accounts interface {
	add(jid, password string) error
	remove(jid string) error
	settle() error // returns when a crash would lose none of those added
}

// open makes the directory, has prepare fill it, and starts the server.
func (s *Server) open(prepare func() error) error {
	var err error
	if s.Dir, err = os.MkdirTemp("", "posthorn-"+strings.ToLower(s.Name)+"-"); err != nil {
		return err
	}
	if err := errors.Join(s.takePorts(), s.makeCA(), prepare()); err != nil {
		return errors.Join(fmt.Errorf("xmpptest: prepare %s: %w", s.Name, err), s.Close())
	}
	if err := s.Start(); err != nil {
		return errors.Join(fmt.Errorf("%w\n%s", err, s.Log()), s.Close())
	}
	return nil
}

func installed(programs ...string) error {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("xmpptest: %s is not installed: run `make deps`, or install the packages that .ci/deps names", name)
		}
	}
	return nil
}

func (s *Server) takePorts() error {
	for _, address := range []*string{&s.ClientAddress, &s.DirectTLSAddress, &s.ComponentAddress, &s.UploadAddress} {
		port, err := FreePort()
		if err != nil {
			return err
		}
		*address = loopback(port)
	}
	return nil
}

func (s *Server) makeCA() (err error) {
	if s.CA, err = NewCA(); err != nil {
		return err
	}
	s.CAFile = filepath.Join(s.Dir, "ca.pem")
	return os.WriteFile(s.CAFile, s.CA.PEM(), 0o600)
}

// certify makes the server's certificate, as certs/server.crt and server.key.
func (s *Server) certify(names []string) error {
	certificate, err := s.CA.Issue(append([]string{"127.0.0.1"}, names...)...)
	if err != nil {
		return err
	}
	certs := filepath.Join(s.Dir, "certs")
	if err := os.Mkdir(certs, 0o700); err != nil {
		return err
	}
	return WriteCertificate(certificate, filepath.Join(certs, "server.crt"), filepath.Join(certs, "server.key"))
}

// Close ends the server and removes its directory. It kills: an orderly stop
// takes up to seconds, and nobody will read what it would save.
func (s *Server) Close() error {
	return errors.Join(s.end((*Process).Kill), os.RemoveAll(s.Dir))
}

// AddUser makes an account, or gives it a new password. The server runs.
func (s *Server) AddUser(jid, password string) error { return s.accounts.add(jid, password) }

// DeleteUser removes an account; the running server may end its sessions only
// when they speak.
func (s *Server) DeleteUser(jid string) error { return s.accounts.remove(jid) }

// Login logs in to this server, with STARTTLS.
func (s *Server) Login(ctx context.Context, jid, password string) (*Client, error) {
	return Login(ctx, LoginOptions{JID: jid, Password: password, Address: s.ClientAddress, RootCAs: s.CA.Pool()})
}
