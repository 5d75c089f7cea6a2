package store

import (
	"context"
	"database/sql"
	"time"
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
const connectLimit = 8 * time.Second

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

// countLimit bounds what counts everything, which is a million records at worst.
const countLimit = 30 * time.Second

// ask does something that needs no transaction, on a connection of such a pool, within so
// much time. SQLite's one connection does it between its commits.
func (s *Store) ask(ctx context.Context, limit time.Duration, pool func(*database) *sql.DB, do func(*connection) error) error {
	d, err := s.reachable()
	if err != nil {
		return unavailable(err)
	}
	return s.askOf(ctx, d, limit, pool, do)
}

func (s *Store) askOf(ctx context.Context, d *database, limit time.Duration, pool func(*database) *sql.DB, do func(*connection) error) error {
	if d.writer != nil {
		return s.commitOnce(ctx, do)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.askOnce(ctx, pool(d), do)
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
