package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// sqlite is the engine whose database is a file.
func sqlite(path string) engine {
	return engine{
		name:    path,
		words:   strings.NewReplacer("now_ns()", "CAST(unixepoch('subsec') * 1000000000 AS INTEGER)", "CREATE SEQUENCE messages_seq;", "", "ALTER TABLE messages SET (fillfactor = 50);", ""),
		among:   amongSQLite,
		begin:   `BEGIN IMMEDIATE`,
		try:     `UPDATE versions SET version = version`,
		writers: 1,
		open:    openSQLite,
		claim:   claimSQLite,
		changed: changedSQLite,
		judge:   judgeSQLite,
		explain: explainSQLite,
	}
}

func amongSQLite(n int, seqs []int64) (string, any) {
	list, _ := json.Marshal(seqs) // numbers can be encoded
	return fmt.Sprintf("seq IN (SELECT value FROM json_each($%d))", n), string(list)
}

// openSQLite opens the database, and makes its file where there is none. The lock stays
// with s, however that ends.
func openSQLite(_ context.Context, s *Store) (_ *database, err error) {
	if s.lock == nil && !s.opts.Beside {
		if s.lock, err = lockDirectory(filepath.Dir(s.opts.Path)); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	if err := prepareFile(s.opts.Path, s.opts.Beside); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	w, err := openWriter(&s.engine, s.opts.Path, s.opts.Beside)
	if err != nil {
		return nil, s.explain(err)
	}
	readers, err := openReader(s.opts.Path)
	if err != nil {
		w.close()
		return nil, s.explain(err)
	}
	return &database{readers: readers, writer: w}, nil
}

// prepareFile makes the database's files ones that nobody else can read: a new one
// before SQLite gives its mode to those beside it. One that exists is not opened,
// because closing it would take away the locks that SQLite has on it in this
// process (fcntl(2)), and others could then remove what is in its log.
func prepareFile(path string, beside bool) error {
	if beside {
		_, err := os.Stat(path)
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the path is the configuration's
	if err == nil {
		return file.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := hide(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// hide takes a file's permissions from everybody but its owner.
func hide(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(path, 0o600)
}

// How long a lock of somebody else's is waited for. Everybody waits for the writer
// of the service, and others hold the lock for one commit; who writes beside it has
// to find a gap between its commits.
const (
	patience       = time.Second
	patienceBeside = 5 * time.Second
)

// dsn names the database, which exists, for the driver. What is deleted is
// overwritten with zeros: texts are not kept longer than their outcome is open.
func dsn(path string, wait time.Duration, more string) string {
	if !filepath.IsAbs(path) {
		path = "./" + path // or ":memory:" would be in memory
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: fmt.Sprintf("mode=rw&_error_rc=1&_busy_timeout=%d&_pragma=secure_delete(ON)&_pragma=journal_size_limit(67108864)&%s", wait.Milliseconds(), more)}
	return u.String()
}

// openWriter opens the database for writing. Where it is the service's, it brings
// it up to date and sees whether it can be written.
func openWriter(e *engine, path string, beside bool) (*connection, error) {
	wait := patience
	if beside {
		wait = patienceBeside
	}
	db, err := sql.Open("sqlite", dsn(path, wait, "_journal_mode=WAL&_synchronous=FULL"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(context.Background())
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	c := &connection{db: db, conn: conn, ctx: context.Background(), engine: e, statements: make(map[string]*sql.Stmt)}
	if err := c.begin(beside); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// begin finds out whether the database is sound and of this version.
func (c *connection) begin(beside bool) error {
	if beside {
		return c.checkVersion()
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := c.migrate(); err != nil {
		return err
	}
	return c.transact(func() error { return c.try(false) })
}

// check looks whether the database is sound.
func (c *connection) check() error {
	var verdict string
	if err := c.conn.QueryRowContext(context.Background(), "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w %s", errDamaged, strings.Join(strings.Fields(verdict), " "))
	}
	return nil
}

// openReader opens the database for those who only read.
func openReader(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, patience, "_query_only=1"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(2)
	if err := db.Ping(); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// changedSQLite asks for the number that changes when another process has written.
func changedSQLite(ctx context.Context, s *Store) (changed bool, err error) {
	err = s.commitOnce(ctx, func(c *connection) error {
		version, err := c.number(`PRAGMA data_version`)
		changed = version != c.dataVersion
		c.dataVersion = version
		return err
	})
	return changed, err
}

func judgeSQLite(err error) verdict {
	switch code := codeOf(err); {
	case err == nil:
		return fine
	case code == lib.SQLITE_BUSY, code == lib.SQLITE_LOCKED, code == lib.SQLITE_FULL:
		return passing
	case code == lib.SQLITE_CONSTRAINT:
		return refused
	case code == lib.SQLITE_CORRUPT, code == lib.SQLITE_NOTADB, code == lib.SQLITE_IOERR, errors.Is(err, errUnreadable):
		return damaged
	case code == lib.SQLITE_ERROR:
		return tableless
	}
	return unknown
}

// codeOf gives SQLite's code of an error, without which sort of it it is; 0: it
// is none of SQLite's.
func codeOf(err error) int {
	var known *driver.Error
	if !errors.As(err, &known) {
		return 0
	}
	return known.Code() & 0xff
}

func explainSQLite(err error) string {
	switch code := codeOf(err); {
	case code == lib.SQLITE_CORRUPT, code == lib.SQLITE_NOTADB, errors.Is(err, errDamaged), errors.Is(err, errUnreadable):
		return "is damaged: stop posthorn and move it away, with its -wal and -shm, and it begins a new one (sqlite3's .recover may save what it held)"
	case code == lib.SQLITE_BUSY, code == lib.SQLITE_LOCKED:
		return "is locked by another program"
	case code == lib.SQLITE_FULL:
		return "has no room: the disk is full"
	case code == lib.SQLITE_READONLY:
		return "is read-only"
	case code == lib.SQLITE_CANTOPEN:
		return "cannot be opened: it or its directory may be read-only"
	case code == lib.SQLITE_IOERR:
		return "cannot be read or written: the disk is full or failing"
	}
	return ""
}
