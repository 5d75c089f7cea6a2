package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"posthorn/internal/fault"
)

// A row says how a kind of failure is told to the client.
type row struct {
	status int
	title  string // the status's name in RFC 9110 §15 or RFC 6585 (RFC 9457 §4.2.1)
	retry  int    // seconds, for Retry-After; 0: trying again is no use, or not ours to advise
}

// rows is the one table from kinds to HTTP. It is never written to.
var rows = [...]row{
	fault.Internal:         {500, "Internal Server Error", 0},
	fault.Malformed:        {400, "Bad Request", 0},
	fault.Unauthenticated:  {401, "Unauthorized", 0},
	fault.Forbidden:        {403, "Forbidden", 0},
	fault.NoSuchPage:       {404, "Not Found", 0},
	fault.NoSuchMessage:    {404, "Not Found", 0},
	fault.Undeliverable:    {404, "Not Found", 0},
	fault.MethodNotAllowed: {405, "Method Not Allowed", 0},
	fault.SlowRequest:      {408, "Request Timeout", 0},
	fault.Conflict:         {409, "Conflict", 0},
	fault.TooLarge:         {413, "Content Too Large", 0},
	fault.Unsupported:      {415, "Unsupported Media Type", 0},
	fault.Unsendable:       {422, "Unprocessable Content", 0},
	fault.Rejected:         {422, "Unprocessable Content", 0},
	fault.Throttled:        {429, "Too Many Requests", 30},
	fault.RateLimited:      {429, "Too Many Requests", 1},
	fault.RemoteFailed:     {502, "Bad Gateway", 60},
	fault.Unavailable:      {503, "Service Unavailable", 10},
	fault.Unconfirmed:      {504, "Gateway Timeout", 10},
}

// rowOf finds a kind's row; one that has none is a mistake of ours.
func rowOf(kind fault.Kind) row {
	if kind < 0 || int(kind) >= len(rows) {
		kind = fault.Internal
	}
	return rows[kind]
}

// forGood reports whether trying again cannot help.
func forGood(kind fault.Kind) bool { return rowOf(kind).status < 500 && rowOf(kind).retry == 0 }

// successes are the statuses of the answers that tell of no failure.
var successes = [...]int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent, http.StatusMultiStatus, http.StatusNotModified}

// statusLabel is a status as metrics and the log name it.
func statusLabel(status int) string { return strconv.Itoa(status) }

// asFault makes a fault of what a verifier or a deliverer gave. A request that
// was given up while they worked has no outcome, and is no mistake of ours.
func asFault(err error) *fault.Error {
	f := fault.Of(err)
	if f.Kind == fault.Internal && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return fault.Wrap(err, fault.Unconfirmed, "there was no answer in time")
	}
	return f
}
