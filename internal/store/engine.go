package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"posthorn/internal/message"
)

// An engine is in what one kind of database differs from another. Immutable after New.
type engine struct {
	name    string                                                 // of the database, for a person: nothing in it is secret
	words   *strings.Replacer                                      // makes its SQL of ours
	among   func(n int, seqs []int64) (condition string, list any) // on seq, with the argument $n
	begin   string                                                 // a transaction
	writers int                                                    // goroutines that commit
	limit   time.Duration                                          // of what one transaction takes; 0: as long as it takes
	idle    time.Duration                                          // after which it is seen to whether it still works; 0: never

	open func(*Store) (*database, error)
	// together commits writes that put and settle in few statements; nil: they are done
	// one after another, as all others are.
	together func(*connection, []*write) error
	claim    func(c *connection, term int64, lines []message.Line, limit int) (records [][]message.Record, more []bool, err error)
	changed  func(context.Context, *Store) (bool, error)
	judge    func(error) verdict
	explain  func(error) string // what a person can do about it; "": what the error says
}

// A verdict says what an error of the database means for what comes after it.
type verdict int

const (
	unknown   verdict = iota // it is opened anew before it is used
	tableless                // so is one without our tables
	damaged                  // so is one that cannot be read
	passing                  // it is sound, and will work some time
	refused                  // the error is of what was to be written, and a mistake of ours
	unfit                    // it is of what was to be written, and of what texts hold
	contended                // somebody was in the way: alone it may succeed
	unsent                   // the connection has gone, before anything was written
	lost                     // the connection has gone, and what was to be written may have been
	fine                     // there is none
)

// A database is one that is open.
type database struct {
	readers *sql.DB

	// SQLite has one connection that writes.
	writer *connection

	// PostgreSQL has many, of which those of readers do not wait for the disk when they
	// write, one for leases alone, which so wait for nobody, and one to tell others.
	writers, leases, notes *sql.DB
}

// A connection is one that writes. One goroutine has it.
type connection struct {
	conn       *sql.Conn
	ctx        context.Context // ends when what is under way has taken too long
	engine     *engine
	statements map[string]*sql.Stmt // by text; nil: the driver knows them
	db         *sql.DB              // closed with it; nil: others have it too

	dataVersion int64 // as Changed last saw it; 0: never
}

// connectLimit bounds the wait for a connection, to whichever of several hosts.
const connectLimit = 10 * time.Second

// connection gives a connection to write with.
func (d *database) connection(e *engine) (*connection, error) {
	if d.writer != nil {
		return d.writer, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
	defer cancel()
	return connect(ctx, e, d.writers)
}

// connect takes a connection out of a pool.
func connect(ctx context.Context, e *engine, pool *sql.DB) (*connection, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, unasked{err}
	}
	return &connection{conn: conn, ctx: ctx, engine: e}, nil
}

// within gives a context for one transaction.
func (e *engine) within() (context.Context, context.CancelFunc) {
	if e.limit == 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), e.limit)
}

// spell writes a statement as the engine calls things.
func (e *engine) spell(statement string) string { return e.words.Replace(statement) }

// countLimit bounds what counts everything, which is a million records at worst.
const countLimit = 30 * time.Second

// ask does something that needs no transaction, on a connection of such a pool, within so
// much time. SQLite's one connection does it between its commits.
func (s *Store) ask(ctx context.Context, limit time.Duration, pool func(*database) *sql.DB, do func(*connection) error) error {
	d, err := s.opened()
	if err != nil {
		return unavailable(err)
	}
	if d.writer != nil {
		return s.commitOnce(ctx, do)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = s.askOnce(ctx, pool(d), do)
	if s.engine.judge(err) == unsent {
		err = s.askOnce(ctx, pool(d), do)
	}
	if err != nil {
		return unavailable(s.explain(err))
	}
	return nil
}

func (s *Store) askOnce(ctx context.Context, pool *sql.DB, do func(*connection) error) error {
	c, err := connect(ctx, &s.engine, pool)
	if err != nil {
		return err
	}
	defer c.done()
	return do(c)
}

func writersOf(d *database) *sql.DB { return d.writers }
func readersOf(d *database) *sql.DB { return d.readers }
func leasesOf(d *database) *sql.DB  { return d.leases }
func notesOf(d *database) *sql.DB   { return d.notes }

// An unasked error says that nothing was written or read yet.
type unasked struct{ error }

func (u unasked) Unwrap() error { return u.error }

// done gives back a connection to its pool.
func (c *connection) done() {
	if c.db == nil {
		_ = c.conn.Close()
	}
}

// close closes all connections, the one that writes last: SQLite's then cleans up.
func (d *database) close() {
	for _, pool := range []*sql.DB{d.readers, d.leases, d.notes, d.writers} {
		if pool != nil {
			_ = pool.Close()
		}
	}
	if d.writer != nil {
		d.writer.close()
	}
}

// close closes a connection that no pool has, its statements first: while one is left,
// SQLite keeps the files open and their locks.
func (c *connection) close() {
	for _, s := range c.statements {
		_ = s.Close()
	}
	_ = c.conn.Close()
	_ = c.db.Close()
}

// transact commits what do does, or nothing of it.
func (c *connection) transact(do func() error) error {
	if err := c.simply(c.engine.begin); err != nil {
		return err
	}
	err := do()
	if err == nil {
		err = c.simply(`COMMIT`)
	}
	if err != nil {
		_ = c.simply(`ROLLBACK`) // some errors have done so already
		c.dataVersion = 0        // who has asked for it was not told
	}
	return err
}

// simply executes statements without arguments.
func (c *connection) simply(statements string) error {
	_, err := c.conn.ExecContext(c.ctx, statements)
	return err
}

// exec executes a statement, prepared once.
func (c *connection) exec(query string, args ...any) (int64, error) {
	result, err := c.execute(query, args)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *connection) execute(query string, args []any) (sql.Result, error) {
	if c.statements == nil {
		return c.conn.ExecContext(c.ctx, query, args...)
	}
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(c.ctx, args...)
}

func (c *connection) query(query string, args ...any) (*sql.Rows, error) {
	if c.statements == nil {
		return c.conn.QueryContext(c.ctx, query, args...)
	}
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(c.ctx, args...)
}

func (c *connection) prepare(query string) (*sql.Stmt, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	s, err := c.conn.PrepareContext(c.ctx, query)
	if err != nil {
		return nil, err
	}
	c.statements[query] = s
	return s, nil
}

// number gives the first column of the first row.
func (c *connection) number(query string, args ...any) (n int64, err error) {
	rows, err := c.query(query, args...)
	if err != nil {
		return 0, err
	}
	if found, err := one(rows, &n); found || err != nil {
		return n, err
	}
	return 0, sql.ErrNoRows
}

// numbers reads the first columns of all rows.
func numbers(rows *sql.Rows) (all []int64, err error) {
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// one reads one row, if there is one.
func one(rows *sql.Rows, into ...any) (found bool, err error) {
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	if err := rows.Scan(into...); err != nil {
		return true, err
	}
	return true, rows.Close()
}

var (
	errDamaged    = errors.New("quick_check found")
	errUnreadable = errors.New("cannot be read")
	errNewer      = errors.New("was made by a newer posthorn: use that one")
	errOlder      = errors.New("was made by an older posthorn: start the service once")
)

// errNothing: there are no tables yet. It is one of fs.ErrNotExist.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string        { return "has nothing of posthorn's yet: start the service once" }
func (nothing) Is(target error) bool { return target == fs.ErrNotExist }

// explain says of an error of the database what a person can do about it, in one line.
func (s *Store) explain(err error) error {
	what := s.engine.explain(err)
	switch {
	case errors.Is(err, errNewer), errors.Is(err, errOlder), errors.Is(err, errNothing), errors.Is(err, errURL):
		return fmt.Errorf("store: %s %w", s.engine.name, err)
	case what == "":
		return fmt.Errorf("store: %s: %w", s.engine.name, oneLine(err))
	}
	return fmt.Errorf("store: %s %s: %w", s.engine.name, what, oneLine(err))
}

// oneLine gives err with its text in one line.
func oneLine(err error) error {
	if text := err.Error(); strings.ContainsAny(text, "\n\t") {
		return &reworded{strings.Join(strings.Fields(text), " "), err}
	}
	return err
}

type reworded struct {
	text string
	err  error
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.err }
