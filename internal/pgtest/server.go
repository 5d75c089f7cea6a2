package pgtest

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"posthorn/internal/xmpptest"
)

// Options are what a test may want of a server.
type Options struct {
	Settings []string // lines of postgresql.conf: "fsync = off"
	Access   []string // lines of pg_hba.conf; default: every role by its password
}

// A Server is a PostgreSQL in a directory of its own. One goroutine at a time starts
// and stops it; everything else may be called by many.
type Server struct {
	// Immutable after Open.
	Address string // host:port
	CAFile  string // the authority of its certificate, for who asks for TLS

	bin      string // where its programs are
	dir      string // everything it has, removed by Close
	password string // of the role postgres
	owner    owner
	process  *xmpptest.Process
}

// Open makes a cluster and starts it. Close ends and removes both.
func Open(o Options) (*Server, error) {
	s := &Server{password: rand.Text()}
	var err error
	if s.bin, err = newestPrograms(); err != nil {
		return nil, err
	}
	if s.owner, err = findOwner(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "posthorn-postgresql-"); err != nil {
		return nil, err
	}
	if err := s.prepare(o); err != nil {
		return nil, errors.Join(fmt.Errorf("pgtest: prepare PostgreSQL: %w", err), s.Close())
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, s.Log()), s.Close())
	}
	return s, nil
}

// newestPrograms is the directory of the newest version. Debian keeps those of the
// server out of PATH, since several versions may be installed.
func newestPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return "", errors.New("pgtest: PostgreSQL is not installed: run `make deps`, or install the packages that .ci/deps names")
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
	return filepath.Dir(newest), nil
}

// version is 15 for /usr/lib/postgresql/15/bin/postgres.
func version(program string) int {
	number, _ := strconv.Atoi(strings.Split(program, "/")[4])
	return number
}

// prepare makes the cluster, and settles what must differ from an administrator's: it
// is alone in its directory, and leaves nothing outside it.
func (s *Server) prepare(o Options) error {
	port, err := xmpptest.FreePort()
	if err != nil {
		return err
	}
	s.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := s.initialize(); err != nil {
		return err
	}
	if err := errors.Join(s.certify(), s.admit(o.Access)); err != nil {
		return err
	}
	lines := slices.Concat(o.Settings, []string{
		"listen_addresses = '127.0.0.1'",
		"port = " + strconv.Itoa(port),
		"unix_socket_directories = ''",
		"dynamic_shared_memory_type = mmap", // posix would leave files in /dev/shm after a kill
		"ssl = on",
	})
	return appendTo(filepath.Join(s.data(), "postgresql.conf"), strings.Join(lines, "\n")+"\n")
}

// certify makes the certificate, under the names that PostgreSQL looks for, and its
// authority.
func (s *Server) certify() error {
	ca, err := xmpptest.NewCA()
	if err != nil {
		return err
	}
	certificate, err := ca.Issue("127.0.0.1")
	if err != nil {
		return err
	}
	chain, key := filepath.Join(s.data(), "server.crt"), filepath.Join(s.data(), "server.key")
	s.CAFile = filepath.Join(s.dir, "ca.pem")
	return errors.Join(xmpptest.WriteCertificate(certificate, chain, key), s.owner.take(chain, key),
		os.WriteFile(s.CAFile, ca.PEM(), 0o600))
}

// admit writes who may connect, beside the superuser of Do and Ask.
func (s *Server) admit(lines []string) error {
	if lines == nil {
		return nil // initdb has written it
	}
	file := filepath.Join(s.data(), "pg_hba.conf")
	if err := os.Truncate(file, 0); err != nil {
		return err
	}
	lines = append([]string{"host all postgres 127.0.0.1/32 scram-sha-256"}, lines...)
	return appendTo(file, strings.Join(lines, "\n")+"\n")
}

// initialize runs initdb. Every role shows its password, over TCP.
func (s *Server) initialize() error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password), 0o600); err != nil {
		return err
	}
	if err := s.owner.take(s.dir, secret); err != nil {
		return err
	}
	cmd := s.program("initdb", "--pgdata", s.data(), "--username=postgres", "--pwfile", secret,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-messages=C", "--no-sync")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// program is a command that runs as who owns the cluster, in a directory that this
// user may enter.
func (s *Server) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.owner.attributes()
	return cmd
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Close ends the server and removes its directory. It does not kill: then a piece of
// the system's shared memory would stay.
func (s *Server) Close() error {
	return errors.Join(s.stopBy(syscall.SIGQUIT), os.RemoveAll(s.dir))
}
