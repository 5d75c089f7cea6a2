package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	databaseName = "posthorn.db"
	systemState  = "/var/lib/posthorn"
)

// findStore reads the key store: which file the database is, if there is one.
func (c *config) findStore(getenv func(string) string, found *mistakes) {
	path, isFile := strings.CutPrefix(c.Store, "sqlite:")
	switch {
	case c.Store == "":
	case isFile && path != "":
		c.storePath = path
	case c.Store == "sqlite":
		dir, err := stateDirectory(getenv)
		if err != nil {
			found.add("store", "%v", err)
		}
		c.storePath = filepath.Join(dir, databaseName)
	case strings.HasPrefix(c.Store, "postgres"):
		found.add("store", "names PostgreSQL, which this version does not know: take sqlite or sqlite:/path/to/file")
	default:
		found.add("store", "is %q and has to be sqlite, sqlite:/path/to/file, or empty", c.Store)
	}
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
