package store

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// judgePostgres goes by the classes of PostgreSQL's error codes (its Appendix A).
func judgePostgres(err error) verdict {
	var early unasked
	code := sqlState(err)
	v := lost // an error that is not the server's is of the connection
	switch {
	case err == nil:
		return fine
	case errors.Is(err, errURL), errors.Is(err, errFile), errors.Is(err, errEncoding):
		return passing
	case errors.Is(err, errUnreadable):
		return damaged
	case errors.Is(err, driver.ErrBadConn), pgconn.SafeToRetry(err):
		return unsent
	case code != "":
		v = judgeCode(code)
	}
	if v == lost && errors.As(err, &early) {
		return unsent
	}
	return v
}

func judgeCode(code string) verdict {
	switch code {
	case "42P01": // undefined_table
		return tableless
	case "55P03", "57014": // lock_not_available, query_canceled
		return blocked
	case "57P01", "57P02", "57P03", "57P05": // shutdowns
		return lost
	case "40003": // statement_completion_unknown, by those that are like PostgreSQL
		return lost
	case "25006": // read_only_sql_transaction: another host is to be looked for
		return unknown
	case "22021", "22P05", "54000": // a character, or the length of what is in an index
		return unfit
	}
	switch code[:2] {
	case "22", "23": // data exceptions, integrity constraints
		return refused
	case "40": // transaction rollback: serialization_failure, deadlock_detected
		return contended
	case "08": // connection exceptions
		return lost
	case "53": // insufficient resources
		return passing
	case "XX": // internal errors
		return damaged
	}
	return unknown
}

// sqlState gives PostgreSQL's code of an error; "": it is none of its errors.
func sqlState(err error) string {
	var known *pgconn.PgError
	if !errors.As(err, &known) || len(known.Code) != 5 {
		return ""
	}
	return known.Code
}

// errForbidden is what PostgreSQL would say of tables that are to be made.
var errForbidden = errors.New("permission denied")

func explainPostgres(err error) string {
	var network net.Error
	var early unasked
	var certificate *tls.CertificateVerificationError
	switch code := sqlState(err); {
	case code != "":
		return explainCode(code)
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return explainCode("25006")
	case errors.Is(err, errForbidden):
		return explainCode("42501")
	case errors.As(err, &certificate):
		return "has a certificate that is not trusted: name its authority's file by sslrootcert, and the host as in the certificate"
	case strings.Contains(err.Error(), "server refused TLS connection"): // an error of pgx without a type
		return "has no TLS: switch it on (ssl), or take another sslmode"
	case errors.Is(err, errUnreadable):
		return "holds a message that is none of posthorn's: restore it from a backup"
	case errors.Is(err, context.DeadlineExceeded):
		return "does not answer in time"
	case errors.As(err, &network), errors.As(err, &early):
		return "cannot be reached"
	}
	return "does not answer"
}

func explainCode(code string) string {
	switch code {
	case "28P01", "28000":
		return "does not let this user in: correct user and password, or pg_hba.conf"
	case "3D000":
		return "does not exist: make the database (createdb)"
	case "42501", "3F000": // insufficient_privilege, and no schema in which tables may be made
		return "does not let this user make or change tables: make it the owner of the database (ALTER DATABASE … OWNER TO …)"
	case "53300":
		return "has no connection left: raise max_connections, each posthorn needs twelve"
	case "53100":
		return "has no room: its disk is full"
	case "57P03", "57P01", "57P02":
		return "is starting or stopping"
	case "25006":
		return "is a standby, or read-only: name the host that can be written, or all hosts (postgres://USER@ONE,OTHER/DATABASE)"
	case "55P03":
		return "is locked by another program"
	case "57014":
		return "does not answer in time"
	case "08P01":
		return "is behind a pooler that refuses settings: connect to PostgreSQL itself, or let the pooler ignore them (ignore_startup_parameters of PgBouncer, in session mode)"
	case "XX001", "XX002":
		return "is damaged: restore it from a backup"
	}
	return ""
}
