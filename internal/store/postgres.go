package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// pgWriters is how many commit at once: enough for one to gather what the others let
	// wait, and for PostgreSQL to flush the work of several at once.
	pgWriters = 4
	// pgReaders is how many read, or claim, at once.
	pgReaders = 4
	// pgLimit bounds a transaction.
	pgLimit = 5 * time.Second
	// leaseStatement bounds what is asked about the lease, which lasts for seconds.
	leaseStatement = 2 * time.Second
	// pgIdle is how long the database is taken to work without being asked.
	pgIdle = 5 * time.Second
	// migrateLimit bounds what is done at the start, where tables with a million rows get
	// new columns and indexes, or another instance gives them some.
	migrateLimit = 10 * time.Minute
)

// postgres is the engine that several instances share.
func postgres(opts Options) engine {
	p := &pg{opts: opts}
	writers := pgWriters
	if opts.Beside {
		writers = 1
	}
	return engine{
		name: Redact(opts.URL.Reveal()),
		words: strings.NewReplacer(
			" INTEGER", " BIGINT", " BLOB", " BYTEA", " TEXT ", ` TEXT COLLATE "C" `,
			"now_ns()", "(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"),
		among: func(n int, seqs []int64) (string, any) {
			return fmt.Sprintf("seq = ANY ($%d::bigint[])", n), seqs
		},
		begin:    `BEGIN`,
		try:      tryPostgres,
		room:     roomPostgres,
		writers:  writers,
		limit:    pgLimit,
		idle:     pgIdle,
		open:     p.open,
		together: together,
		claim:    claimPostgres,
		changed:  changedPostgres,
		judge:    judgePostgres,
		explain:  explainPostgres,
	}
}

// tryPostgres waits for nobody: neither for other instances that try, nor for who has
// locked the table of messages.
const tryPostgres = `LOCK TABLE messages IN ROW EXCLUSIVE MODE NOWAIT;
	UPDATE versions SET version = version WHERE version IN (SELECT version FROM versions FOR UPDATE SKIP LOCKED)`

// roomPostgres needs new pages, as a message does: 256 KiB that do not compress. Nobody
// else sees the row, nor waits for it.
const roomPostgres = `INSERT INTO originals (sender, recipient, about, id, expires)
		SELECT '', '', md5(random()::text), string_agg(md5(random()::text), ''), 0 FROM generate_series(1, 8192);
	DELETE FROM originals WHERE sender = ''`

// Redact gives what may be shown of a database's URL: neither user nor password, nor
// parameters, among which passwords may be. Where an @ stands behind the host, what seems
// to be the host may be a part of a password.
func Redact(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "postgres" && u.Scheme != "postgresql":
		return "no URL"
	case strings.Contains(u.Path+u.RawQuery+u.Fragment, "@"):
		return u.Scheme + "://…"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// A pg is a PostgreSQL database that can be opened again and again.
type pg struct {
	opts   Options
	warned string // what was said last of what is unsafe; owned by who opens
}

// open opens the database.
func (p *pg) open(ctx context.Context, s *Store) (*database, error) {
	d, err := p.prepare(ctx, s)
	if err != nil {
		return nil, s.explain(err)
	}
	return d, nil
}

func (p *pg) prepare(ctx context.Context, s *Store) (*database, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	if err := p.begin(ctx, s, config); err != nil {
		return nil, err
	}
	readers, brief := pgReaders, milliseconds(leaseStatement)
	if p.opts.Beside {
		readers = 1
	}
	return &database{
		writers: pool(config, s.engine.writers, map[string]string{"plan_cache_mode": "force_generic_plan"}),
		readers: pool(config, readers, map[string]string{"synchronous_commit": "off", "statement_timeout": milliseconds(countLimit)}),
		notes:   pool(config, 1, map[string]string{"synchronous_commit": "off"}),
		// A lease that a crash forgets would be given twice.
		leases: pool(config, 1, map[string]string{"synchronous_commit": "on", "statement_timeout": brief, "lock_timeout": brief}),
	}, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// begin brings the database up to date and sees whether it can be written, and whether
// what is written there is safe. What may take long is that the tables change, and nothing
// else.
func (p *pg) begin(ctx context.Context, s *Store, config *pgx.ConnConfig) error {
	err := first(ctx, s, config, pgLimit, nil, p.look)
	if errors.Is(err, errOlder) && !p.opts.Beside {
		long := milliseconds(migrateLimit)
		settings := map[string]string{"statement_timeout": long, "lock_timeout": long, "idle_in_transaction_session_timeout": long}
		if err = first(ctx, s, config, migrateLimit, settings, (*connection).migrate); err == nil {
			err = first(ctx, s, config, pgLimit, nil, p.look)
		}
	}
	return err
}

// first does something on a connection of its own, within so much time.
func first(ctx context.Context, s *Store, config *pgx.ConnConfig, limit time.Duration, settings map[string]string, do func(*connection) error) error {
	one := pool(config, 1, settings)
	defer one.Close()
	connecting, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := connect(connecting, &s.engine, one)
	if err != nil {
		return err
	}
	defer c.done()
	c.ctx, cancel = context.WithTimeout(ctx, limit)
	defer cancel()
	return do(c)
}

// look finds out whether the database can be used as it is: errOlder where its tables have
// to change, or be made.
func (p *pg) look(c *connection) error {
	if err := c.checkEncoding(); err != nil {
		return err
	}
	if p.opts.Beside {
		if _, err := c.version(); judgePostgres(err) == tableless {
			return c.checkEmpty()
		}
		return c.checkVersion()
	}
	if err := c.checkVersion(); err != nil {
		return err
	}
	if err := c.transact(func() error { return c.try(false) }); err != nil {
		return err
	}
	return p.warn(c)
}

// errEncoding: most texts could not be kept.
var errEncoding = errors.New("has the encoding")

// checkEncoding refuses a database that converts what it gets, for there is no way to do so
// with most of what people write.
func (c *connection) checkEncoding() error {
	rows, err := c.query(`SHOW server_encoding`)
	if err != nil {
		return err
	}
	var is string
	if _, err := one(rows, &is); err != nil || is == "UTF8" || is == "SQL_ASCII" {
		return err
	}
	return fmt.Errorf("%w %s: make another database (createdb --encoding UTF8 --template template0)", errEncoding, is)
}

// changedPostgres lets everything be counted anew now and then: what others tell of may
// have been missed. Where counting takes long, that is less often.
func changedPostgres(_ context.Context, s *Store) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return false, unavailable(s.failure)
	}
	if s.others.missed.Swap(false) || time.Since(s.counted) > max(countAgain, 20*s.counting) {
		s.counted = time.Now()
		return true, nil
	}
	return false, nil
}

// countAgain is how often it is counted what others have changed.
const countAgain = 5 * time.Second

// checkEmpty gives ErrNothing, unless the service may make no tables there.
func (c *connection) checkEmpty() error {
	n, err := c.number(`SELECT count(*) WHERE has_schema_privilege(current_schema(), 'CREATE')`)
	if err == nil && n == 0 {
		err = errForbidden
	}
	return cmp.Or(err, ErrNothing)
}
