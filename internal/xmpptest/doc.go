// Package xmpptest runs the real thing for tests and for `make demo`: a Prosody
// or an ejabberd of its own in a temporary directory, and a client that logs in
// to it.
//
//  1. Open and OpenEjabberd write certificates of an authority of its own, and a
//     configuration for free ports of 127.0.0.1 that includes the file in
//     deploy/, the very lines an administrator adds. Options edit them.
//  2. Start starts the server and waits until its ports answer; Stop, Kill,
//     Pause and Resume do to it what machines do to servers.
//  3. AddUser makes accounts, by prosodyctl or mod_http_api.
//  4. A Proxy before it stalls, delays, cuts and resets connections.
//  5. Login is a user's client: STARTTLS, SASL and resource binding by
//     mellium.im/xmpp, which is none of ours, so that what posthorn says is
//     judged by somebody else.
//
// A Server is what both have in common; what runs on either takes one.
//
// Nothing here needs package testing except tb.go, which does the same for a
// test: it fails the test in place of returning an error, puts the server's log
// into the test's log when the test has failed, and cleans up.
//
// It does not script peers: those stand beside the packages they talk to.
package xmpptest
