package main

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"posthorn/internal/secret"
	"posthorn/internal/store"
)

const (
	defaultStore = "sqlite"
	databaseName = "posthorn.db"
	systemState  = "/var/lib/posthorn"
)

// findStore reads the key store.
func (c *config) findStore(getenv func(string) string, found *mistakes) {
	var err error
	if c.storePath, c.storeURL, err = readStore(c.Store.Reveal(), getenv); err != nil {
		found.add("store", "%v", err)
	}
}

// keeps reports whether there is a database.
func (c *config) keeps() bool { return c.storePath != "" || !c.storeURL.Empty() }

// readStore tells which database is meant, if one is: a file of SQLite's, or one of
// PostgreSQL's. The error repeats nothing of what was written, which may hold a password.
func readStore(written string, getenv func(string) string) (path string, at secret.Value, err error) {
	file, isFile := strings.CutPrefix(written, "sqlite:")
	switch {
	case written == "":
	case isFile && file != "":
		path = file
	case written == defaultStore:
		var dir string
		dir, err = stateDirectory(getenv)
		path = filepath.Join(dir, databaseName)
	case strings.HasPrefix(written, "postgres://"), strings.HasPrefix(written, "postgresql://"):
		if err = checkURL(written); err == nil {
			at = secret.New(written)
		}
	case strings.Contains(written, "://"):
		err = errors.New("names a database that posthorn does not know: it " + howStore)
	default:
		err = errors.New(howStore)
	}
	return path, at, err
}

const howStore = "has to be sqlite, sqlite:/path/to/file, postgres://user@host/database, or empty"

// checkURL finds what keeps a URL from naming a database, as far as that is seen without
// asking PostgreSQL. What net/url says of a mistake shows parts of the password.
func checkURL(written string) error {
	u, err := url.Parse(written)
	if err != nil || strings.Contains(written, "#") || strings.ContainsAny(strings.TrimPrefix(u.Path, "/"), "/@") {
		return errors.New("does not parse as a URL: in a user name or password, write % / ? # @ and : as %25 %2F %3F %23 %40 and %3A")
	}
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil:
		return errors.New("has a query that does not parse: it has to be name=value&name=value, as in ?sslmode=verify-full")
	case strings.Trim(u.Path, "/") == "" && query.Get("dbname") == "":
		return errors.New("names no database: it has to be postgres://user@host/database")
	}
	return nil
}

// storeName is the database as people are shown it: a URL without what may be a secret.
func (c *config) storeName() string {
	u, err := url.Parse(c.storeURL.Reveal())
	if c.storeURL.Empty() || err != nil {
		return c.storePath
	}
	return "postgres://" + u.Host + u.Path
}

// openBeside opens the database beside the service, which may be running meanwhile.
func (c *config) openBeside() (*store.Store, error) {
	s := store.New(store.Options{Path: c.storePath, Beside: true})
	return s, s.Open()
}

// stateDirectory is systemd's (systemd.exec(5), StateDirectory=), or the system's
// where it can be written to, or the user's (XDG Base Directory Specification).
func stateDirectory(getenv func(string) string) (string, error) {
	if dirs := getenv("STATE_DIRECTORY"); dirs != "" {
		dir, _, _ := strings.Cut(dirs, ":")
		return dir, nil
	}
	if os.Geteuid() == 0 || unix.Access(systemState, unix.W_OK) == nil {
		return systemState, nil
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "posthorn"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local/state/posthorn"), nil
	}
	return "", errors.New("finds no directory: name a file, as in sqlite:/path/to/posthorn.db, or leave it empty to keep nothing")
}
