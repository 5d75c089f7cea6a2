package store

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"
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
	// maxRow bounds what is read as one message of the protocol, in bytes.
	maxRow = 64 << 20
)

// settings are those of each connection, unless the URL has others. Whatever becomes of an
// instance or of the network, the server lets go of its locks within seconds. What is asked
// is always found by an index, also where the plan was made when the table was empty.
func settings() map[string]string {
	return map[string]string{
		"application_name":                    "posthorn",
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"statement_timeout":                   "4000", // milliseconds; before pgLimit, so that it is the server who says so
		"lock_timeout":                        "3000",
		"idle_in_transaction_session_timeout": "5000",
		"tcp_keepalives_idle":                 "5", // seconds
		"tcp_keepalives_interval":             "2",
		"tcp_keepalives_count":                "3",
		"tcp_user_timeout":                    "10000", // milliseconds
		"enable_seqscan":                      "off",
		"enable_bitmapscan":                   "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
		"jit":                                 "off",
	}
}

// postgres is the engine that several instances share.
func postgres(opts Options) engine {
	p := &pg{opts: opts}
	writers := pgWriters
	if opts.Beside {
		writers = 1
	}
	return engine{
		name: Redact(opts.URL),
		words: strings.NewReplacer(
			" INTEGER", " BIGINT", " BLOB", " BYTEA", " TEXT ", ` TEXT COLLATE "C" `,
			"now_ns()", "(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"),
		among: func(n int, seqs []int64) (string, any) {
			return fmt.Sprintf("seq = ANY ($%d::bigint[])", n), seqs
		},
		begin:    `BEGIN`,
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

// Redact gives what may be shown of a database's URL: neither user nor password, nor
// parameters, among which passwords may be; and where a password could stand anywhere,
// nothing.
func Redact(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return "no URL"
	}
	rest, parameters, _ := strings.Cut(rest, "?")
	if strings.Contains(parameters, "@") {
		return scheme + "://…"
	}
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

// A pg is a PostgreSQL database that can be opened again and again.
type pg struct {
	opts   Options
	warned string // what was said last of what is unsafe; owned by who opens
}

// open opens the database.
func (p *pg) open(s *Store) (*database, error) {
	d, err := p.prepare(s)
	if err != nil {
		return nil, s.explain(err)
	}
	return d, nil
}

func (p *pg) prepare(s *Store) (*database, error) {
	config, err := p.config()
	if err != nil {
		return nil, err
	}
	if err := p.begin(s, config); err != nil {
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
		leases:  pool(config, 1, map[string]string{"statement_timeout": brief, "lock_timeout": brief}),
	}, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// begin brings the database up to date and sees whether it can be written, and whether
// what is written there is safe.
func (p *pg) begin(s *Store, config *pgx.ConnConfig) error {
	long := milliseconds(migrateLimit)
	first := pool(config, 1, map[string]string{"statement_timeout": long, "lock_timeout": long, "idle_in_transaction_session_timeout": long})
	defer first.Close()
	ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
	defer cancel()
	c, err := connect(ctx, &s.engine, first)
	if err != nil {
		return err
	}
	defer c.done()
	ctx, cancel = context.WithTimeout(context.Background(), migrateLimit)
	defer cancel()
	c.ctx = ctx
	if p.opts.Beside {
		if _, err := c.version(); judgePostgres(err) == tableless {
			return errNothing
		}
		return c.checkVersion()
	}
	if err := c.migrate(); err != nil {
		return err
	}
	if err := c.transact(c.try); err != nil {
		return err
	}
	return p.warn(c)
}

// config reads the URL, and what PGPASSWORD and the other variables of PostgreSQL's own
// programs say.
func (p *pg) config() (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(p.opts.URL)
	if err != nil {
		return nil, errURL // and not err, which may show of the URL what is wrong with it
	}
	for name, value := range settings() {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	config.MaxProtocolMessageBodyLen = maxRow
	if config.ValidateConnect == nil { // several hosts: the one that can be written
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = pgLimit
	}
	if slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != config.Host || f.Port != config.Port }) {
		config.DialFunc = (&net.Dialer{Timeout: dialLimit / time.Duration(len(config.Fallbacks)+1)}).DialContext
	}
	return config, nil
}

// dialLimit bounds how long hosts are waited for that do not answer at all, before one
// that does: the lease has to be renewed meanwhile.
const dialLimit = 1500 * time.Millisecond

// errURL: what is wrong with the URL, without what stands in it.
var errURL = errors.New("is no URL of a PostgreSQL database (postgres://USER:PASSWORD@HOST/DATABASE)")

// pool gives so many connections, with settings of their own beside the others.
func pool(config *pgx.ConnConfig, size int, more map[string]string) *sql.DB {
	config = config.Copy()
	for name, value := range more {
		config.RuntimeParams[name] = value
	}
	db := stdlib.OpenDB(*config, stdlib.OptionShouldPing(mayBeDead), stdlib.OptionResetSession(isOpen))
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db
}

// mayBeDead sees to it that nothing is asked on a connection that the server has closed,
// or that has died in silence: after that, nobody would know whether it was done. It asks
// itself, so that it waits no longer than it has to.
func mayBeDead(ctx context.Context, idle stdlib.ShouldPingParams) bool {
	if idle.IdleDuration > time.Second || readable(idle.Conn.PgConn().Conn()) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if idle.Conn.Ping(ctx) != nil {
			_ = idle.Conn.Close(ctx)
		}
	}
	return false
}

// isOpen gives database/sql the reason for another connection.
func isOpen(_ context.Context, conn *pgx.Conn) error {
	if conn.IsClosed() {
		return errClosed
	}
	return nil
}

// readable reports whether there is something to be read, or the end. On a connection of
// which nothing was asked that is the server's farewell, most often.
func readable(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	var peeked error
	err = raw.Control(func(fd uintptr) { // not Read: pgx may be reading
		_, _, peeked = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT) // #nosec G115 -- it is a descriptor
	})
	return err != nil || !errors.Is(peeked, unix.EAGAIN)
}

// warn says in the log where what was acknowledged could be lost.
func (p *pg) warn(c *connection) error {
	risks, err := c.risks()
	text := strings.Join(risks, "; ")
	if err == nil && text != "" && text != p.warned && p.opts.Log != nil {
		p.opts.Log.Warn("PostgreSQL may lose messages that were accepted", "reason", text)
	}
	p.warned = text
	return err
}

// risks says which settings let what was committed be lost.
func (c *connection) risks() ([]string, error) {
	rows, err := c.query(`SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'synchronous_standby_names')`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	is := make(map[string]string)
	for rows.Next() {
		var name, setting string
		if err := rows.Scan(&name, &setting); err != nil {
			return nil, err
		}
		is[name] = setting
	}
	return risksOf(is), rows.Err()
}

func risksOf(is map[string]string) (risks []string) {
	for _, name := range []string{"synchronous_commit", "fsync", "full_page_writes"} {
		if is[name] == "off" {
			risks = append(risks, name+" is off: a crash of its machine loses messages that were accepted; set it to on")
		}
	}
	if how := is["synchronous_commit"]; is["synchronous_standby_names"] != "" && (how == "local" || how == "remote_write") {
		risks = append(risks, "synchronous_commit is "+how+": a standby that takes over may lack messages that were accepted; set it to on")
	}
	return risks
}

// A Server is what serves the database.
type Server struct {
	Version string   // "PostgreSQL 15.8"; "": there is none
	Risks   []string // what may lose messages that were accepted, with what to do, a line each
}

// Server says what serves the database, and how safe what is kept there is.
func (s *Store) Server(ctx context.Context) (server Server, err error) {
	if s.others == nil {
		return server, nil
	}
	err = s.ask(ctx, pgLimit, writersOf, func(c *connection) error {
		rows, err := c.query(`SELECT version()`)
		if err != nil {
			return err
		}
		var long string
		if _, err := one(rows, &long); err != nil {
			return err
		}
		words := strings.Fields(long)
		server.Version = strings.Join(words[:min(2, len(words))], " ")
		server.Risks, err = c.risks()
		return err
	})
	return server, err
}

// changedPostgres lets everything be counted anew now and then: what others tell of may
// have been missed. Where counting takes long, that is less often.
func changedPostgres(_ context.Context, s *Store) (bool, error) {
	missed := s.others.missed.Swap(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if missed || time.Since(s.counted) > max(countAgain, 20*s.counting) {
		s.counted = time.Now()
		return true, s.failure
	}
	return false, s.failure
}

// countAgain is how often it is counted what others have changed.
const countAgain = 5 * time.Second
