package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// CreateDatabase makes an empty database and a role of the same name that owns it and
// is nothing more, and gives the URL by which it connects.
func (s *Server) CreateDatabase() (string, error) {
	name, password := "posthorn_"+strings.ToLower(rand.Text()[:10]), rand.Text()
	err := s.Do("",
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, password),
		fmt.Sprintf("CREATE DATABASE %s OWNER %s", name, name))
	return databaseURL(name, password, s.Address, name), err
}

// DropDatabase removes what CreateDatabase has made, with the connections to it.
func (s *Server) DropDatabase(databaseURL string) error {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(u.Path, "/")
	return s.Do("", "DROP DATABASE "+name+" WITH (FORCE)", "DROP ROLE "+u.User.Username())
}

func (s *Server) adminURL() string { return databaseURL("postgres", s.password, s.Address, "postgres") }

// databaseURL asks for no TLS: Open makes no certificate.
func databaseURL(role, password, address, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: address, Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// At is the database of this URL by another host:port.
func At(databaseURL, address string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "", err
	}
	u.Host = address
	return u.String(), nil
}

// doTimeout bounds one run of psql. It takes a tenth of a second; the rest is for a
// busy machine.
const doTimeout = 30 * time.Second

// Do runs statements, each in a transaction of its own. An empty URL means the
// superuser, in the database postgres.
func (s *Server) Do(databaseURL string, statements ...string) error {
	_, err := s.psql(databaseURL, statements)
	return err
}

// Ask is the answer to a query: lines of columns with | between them.
func (s *Server) Ask(databaseURL, query string) (string, error) {
	return s.psql(databaseURL, []string{query})
}

// psql is none of ours, so that what posthorn wrote is judged by somebody else.
func (s *Server) psql(databaseURL string, statements []string) (string, error) {
	if databaseURL == "" {
		databaseURL = s.adminURL()
	}
	args := []string{"--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-d", databaseURL}
	for _, statement := range statements {
		args = append(args, "-c", statement)
	}
	ctx, cancel := context.WithTimeout(context.Background(), doTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "psql"), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pgtest: psql: %w\n%s", err, out)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
