package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

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

// dsn names the database for the driver. What is deleted is overwritten with
// zeros: texts are not kept longer than their outcome is open. A lock of somebody
// else's is waited for.
func dsn(path, more string) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_busy_timeout=5000&_pragma=secure_delete(ON)&_pragma=journal_size_limit(67108864)&" + more}
	return u.String()
}

// openWriter opens the database for writing, and brings it up to date where it
// may.
func openWriter(path string, migrates bool) (*connection, error) {
	db, err := sql.Open("sqlite", dsn(path, "_journal_mode=WAL&_synchronous=FULL"))
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
	if err := c.begin(migrates); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// begin finds out whether the database is sound and of this version.
func (c *connection) begin(migrates bool) error {
	var verdict string
	if err := c.conn.QueryRowContext(context.Background(), "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return c.migrate(migrates)
}

func (c *connection) close() {
	_ = c.conn.Close()
	_ = c.db.Close()
}

// openReader opens the database for those who only read.
func openReader(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, "_query_only=1"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(2)
	return db, db.Ping()
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
	errDamaged = errors.New("is damaged")
	errNewer   = errors.New("was made by a newer posthorn: use that one")
	errOlder   = errors.New("was made by an older posthorn: start the service once")
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
	case code == lib.SQLITE_CORRUPT, code == lib.SQLITE_NOTADB, errors.Is(err, errDamaged):
		what = "is damaged: stop posthorn and move it away, and it begins a new one (sqlite3's .recover may save what it held)"
	case code == lib.SQLITE_BUSY, code == lib.SQLITE_LOCKED:
		what = "is locked by another program"
	case code == lib.SQLITE_FULL:
		what = "has no room: the disk is full"
	case code == lib.SQLITE_READONLY:
		what = "is read-only"
	case code == lib.SQLITE_CANTOPEN:
		what = "cannot be opened"
	case code == lib.SQLITE_IOERR:
		what = "cannot be read or written: the disk is full or failing"
	default:
		return fmt.Errorf("store: %s: %w", path, err)
	}
	return fmt.Errorf("store: %s %s: %w", path, what, err)
}
