package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// A connection is the one that writes, with its prepared statements. Owned by
// Run.
type connection struct {
	db         *sql.DB
	conn       *sql.Conn
	statements map[string]*sql.Stmt

	dataVersion int64 // as Changed last saw it; 0: never
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
func openWriter(path string, beside bool) (*connection, error) {
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
	c := &connection{db: db, conn: conn, statements: make(map[string]*sql.Stmt)}
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
	return c.transact(c.try)
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

// try writes something that changes nothing.
func (c *connection) try() error {
	_, err := c.exec(`UPDATE versions SET version = version`)
	return err
}

// close closes the connection, its statements first: while one is left, SQLite
// keeps the files open and their locks.
func (c *connection) close() {
	for _, s := range c.statements {
		_ = s.Close()
	}
	_ = c.conn.Close()
	_ = c.db.Close()
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

// exec executes a statement, prepared once.
func (c *connection) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *connection) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

func (c *connection) prepare(query string) (*sql.Stmt, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	s, err := c.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	c.statements[query] = s
	return s, nil
}

// number gives the first column of the first row.
func (c *connection) number(query string, args ...any) (n int64, err error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(&n)
	return n, err
}

var (
	errDamaged    = errors.New("quick_check found")
	errUnreadable = errors.New("cannot be read")
	errNewer      = errors.New("was made by a newer posthorn: use that one")
	errOlder      = errors.New("was made by an older posthorn: start the service once")
)

// passes reports whether the database is sound in spite of an error.
func passes(err error) bool {
	switch codeOf(err) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL, lib.SQLITE_CONSTRAINT:
		return true
	}
	return false
}

// refused reports whether an error is of what was to be written, and not of the
// database.
func refused(err error) bool { return codeOf(err) == lib.SQLITE_CONSTRAINT }

// broken reports whether an error shows that the database cannot be read.
func broken(err error) bool {
	switch codeOf(err) {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_IOERR:
		return true
	}
	return errors.Is(err, errUnreadable)
}

// codeOf gives SQLite's code of an error, without which sort of it it is; 0: it
// is none of SQLite's.
func codeOf(err error) int {
	var known *sqlite.Error
	if !errors.As(err, &known) {
		return 0
	}
	return known.Code() & 0xff
}

// explain says of an error of the database what a person can do about it.
func explain(path string, err error) error {
	what := ""
	switch code := codeOf(err); {
	case code == lib.SQLITE_CORRUPT, code == lib.SQLITE_NOTADB, errors.Is(err, errDamaged), errors.Is(err, errUnreadable):
		what = "is damaged: stop posthorn and move it away, with its -wal and -shm, and it begins a new one (sqlite3's .recover may save what it held)"
	case code == lib.SQLITE_BUSY, code == lib.SQLITE_LOCKED:
		what = "is locked by another program"
	case code == lib.SQLITE_FULL:
		what = "has no room: the disk is full"
	case code == lib.SQLITE_READONLY:
		what = "is read-only"
	case code == lib.SQLITE_CANTOPEN:
		what = "cannot be opened: it or its directory may be read-only"
	case code == lib.SQLITE_IOERR:
		what = "cannot be read or written: the disk is full or failing"
	case errors.Is(err, errNewer), errors.Is(err, errOlder):
		return fmt.Errorf("store: %s %w", path, err)
	default:
		return fmt.Errorf("store: %s: %w", path, err)
	}
	return fmt.Errorf("store: %s %s: %w", path, what, err)
}
