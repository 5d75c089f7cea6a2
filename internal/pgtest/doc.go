// Package pgtest runs a real PostgreSQL for tests and for `make bench`: Debian's,
// in a temporary directory, on a free port of 127.0.0.1.
//
//  1. Open makes a cluster (initdb), with the settings that PostgreSQL has by itself
//     and those of Options, and starts it. PostgreSQL refuses to run as root: for root
//     everything runs as the user postgres, whom Debian's package makes.
//  2. CreateDatabase makes an empty database and a role that owns it, and gives the
//     URL that posthorn is configured with. At is the same URL by another address:
//     that of an xmpptest.Proxy.
//  3. Stop, Kill, Restart, Pause and Resume do to it what machines and administrators
//     do to databases.
//  4. A Shared is one server for all tests of a package, started by the first that asks.
//
// Nothing here needs package testing except tb.go, as in xmpptest.
package pgtest
