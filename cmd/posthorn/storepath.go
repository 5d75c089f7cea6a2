package main

import (
	"context"
	"errors"
	"io/fs"
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

// A database is where things are kept: SQLite's file, PostgreSQL's database, or nowhere.
type database struct {
	storePath string       // empty: it is not SQLite's
	storeURL  secret.Value // empty: it is not PostgreSQL's
}

// findStore reads the key store.
func (c *config) findStore(getenv func(string) string, found *mistakes) {
	var err error
	if c.database, err = readStore(c.Store.Reveal(), getenv); err != nil {
		found.add("store", "%v", err)
	}
}

// readStore tells which database is meant, if one is. The error repeats nothing of what
// was written, which may hold a password.
func readStore(written string, getenv func(string) string) (d database, err error) {
	file, isFile := strings.CutPrefix(written, "sqlite:")
	switch {
	case written == "":
	case isFile && file != "":
		d.storePath = file
	case written == defaultStore:
		var dir string
		dir, err = stateDirectory(getenv)
		d.storePath = filepath.Join(dir, databaseName)
	case strings.HasPrefix(written, "postgres://"), strings.HasPrefix(written, "postgresql://"):
		if err = checkURL(written); err == nil {
			d.storeURL = secret.New(written)
		}
	case strings.Contains(written, "://"):
		err = errors.New("names a database that posthorn does not know: it " + howStore)
	default:
		err = errors.New(howStore)
	}
	return d, err
}

const howStore = "has to be sqlite, sqlite:/path/to/file or postgres://user@host/database; where it is empty, nothing is kept"

// checkURL finds what keeps a URL from naming a database, as far as that is seen without
// asking PostgreSQL. What net/url says of a mistake shows parts of the password. So would what is
// said of a host after the first of several @, where pgx looks for it; net/url, after the last.
func checkURL(written string) error {
	u, err := url.Parse(written)
	_, authority, _ := strings.Cut(written, "://")
	if end := strings.IndexAny(authority, "/?"); end >= 0 {
		authority = authority[:end]
	}
	if err != nil || strings.Contains(written, "#") || strings.Count(authority, "@") > 1 || strings.ContainsAny(strings.TrimPrefix(u.Path, "/"), "/@") {
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

// keeps reports whether there is a database.
func (d database) keeps() bool { return d.storePath != "" || d.shares() }

// shares reports whether other posthorns may have the database too.
func (d database) shares() bool { return !d.storeURL.Empty() }

// storeName is the database as people are shown it: of a URL, what can be no secret.
func (d database) storeName() string {
	if d.shares() {
		return store.Redact(d.storeURL.Reveal())
	}
	return d.storePath
}

// storeOptions say to package store where the database is.
func (d database) storeOptions() store.Options {
	return store.Options{Path: d.storePath, URL: d.storeURL}
}

// openBeside opens the database beside the service, which may be running meanwhile.
func (d database) openBeside(ctx context.Context) (*store.Store, error) {
	o := d.storeOptions()
	o.Beside = true
	s := store.New(o)
	return s, s.Open(ctx)
}

// isNew reports whether what openBeside said is that nothing was ever kept. A file that is
// missing is SQLite's database; of PostgreSQL it is the socket of one that does not run.
func (d database) isNew(err error) bool {
	return errors.Is(err, store.ErrNothing) || !d.shares() && errors.Is(err, fs.ErrNotExist)
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
