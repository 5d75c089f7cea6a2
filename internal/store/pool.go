package store

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"
)

// maxRow bounds what is read as one message of PostgreSQL's protocol, in bytes.
const maxRow = 64 << 20

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

// config reads the URL, and what PGPASSWORD and the other variables of PostgreSQL's own
// programs say.
func (p *pg) config() (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(p.opts.URL.Reveal())
	var file *fs.PathError
	switch {
	case errors.As(err, &file): // sslrootcert, sslcert or sslkey
		return nil, fmt.Errorf("%w: %v", errFile, file) // and not file itself, which may say fs.ErrNotExist of something else than the database
	case err != nil: // not shown: it may have a password in it
		return nil, fmt.Errorf("%w%s", errURL, wrongParameter(p.opts.URL.Reveal()))
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
	several := slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != config.Host || f.Port != config.Port })
	if several {
		config.DialFunc = (&net.Dialer{Timeout: dialLimit / time.Duration(len(config.Fallbacks)+1)}).DialContext
	}
	switch {
	case config.ConnectTimeout > 0:
	case several:
		config.ConnectTimeout = 2 * time.Second
	default:
		config.ConnectTimeout = pgLimit
	}
	return config, nil
}

// wrongParameter says which of a URL's parameters keeps it from being one.
func wrongParameter(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	for name := range u.Query() {
		without, others := *u, u.Query()
		others.Del(name)
		without.RawQuery = others.Encode()
		if _, err := pgx.ParseConfig(without.String()); err == nil {
			return fmt.Sprintf(": the value of %s is none that it can have", name)
		}
	}
	return ""
}

// dialLimit bounds how long hosts are waited for that do not answer at all, before one
// that does: the lease has to be renewed meanwhile.
const dialLimit = 1500 * time.Millisecond

// errURL: what is wrong with the URL, without what stands in it.
var (
	errURL  = errors.New("is no URL of a PostgreSQL database (postgres://USER:PASSWORD@HOST/DATABASE)")
	errFile = errors.New("has a URL that names a file which posthorn's user cannot read")
)

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
		return driver.ErrBadConn
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
