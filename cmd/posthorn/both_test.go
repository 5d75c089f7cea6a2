package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"posthorn/internal/xmpptest"
)

// servers are those beside which posthorn runs, each as its file in deploy/ has
// it, edited. Both keep what is sent while a user is not there, more of it than
// the 10,000 messages after which Prosody refuses the next, and have rooms.
var servers = []struct {
	name  string
	start func(testing.TB, ...xmpptest.Edit) *xmpptest.Server
}{
	{"Prosody", func(t testing.TB, edits ...xmpptest.Edit) *xmpptest.Server {
		o := keepsAll
		o.Component, o.Extra = edits, fmt.Sprintf("Component %q \"muc\"", rooms)
		return &xmpptest.StartProsody(t, o).Server
	}},
	{"ejabberd", func(t testing.TB, edits ...xmpptest.Edit) *xmpptest.Server {
		return &xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Component: edits}).Server
	}},
}

// onBoth runs a test beside each of them, at the same time, with the accounts of the README.
func onBoth(t *testing.T, test func(*testing.T, *xmpptest.Server), edits ...xmpptest.Edit) {
	var both sync.WaitGroup
	for _, server := range servers {
		both.Go(func() {
			t.Run(server.name, func(t *testing.T) {
				p := server.start(t, edits...)
				p.Users(t, password, "me@example.com", "user@example.com")
				test(t, p)
			})
		})
	}
	both.Wait()
}

// An expectation is in what the servers differ, as who uses posthorn sees it.
type expectation struct {
	local     string    // the status of a message to an account of the server's
	ghost     int       // the answer to a message to an account that does not exist,
	ghostSays string    // and part of it
	toTwo     int       // the answer to one message to an account that exists and that one
	sorts     []sending // what can be held against what is received, beside messages to an account that exists
	safe      bool      // what it has accepted outlives its crash
	deepest   int       // so deep an element does not crash it
	drops     []string  // for what reasons what strangers send is dropped: it may write it shorter than they
	restarts  int       // in the short form of the storm: ejabberd takes four seconds for one
	copies    bool      // with the privilege, the sender's other clients get a copy
	checked   string    // the setting that ends the check of addresses
	unknown   string    // what check advises where the server has no such component
	tells     string    // what check says about it
}

// expected is keyed by the server's name.
var expected = map[string]expectation{
	"Prosody": {
		local: "delivered", ghost: http.StatusNotFound, ghostSays: "(service-unavailable)", toTwo: http.StatusMultiStatus, copies: true, checked: "validate_from_addresses",
		sorts: []sending{toGhost, unsendable}, safe: true, restarts: 4, deepest: 1 << 20, drops: []string{"depth", "size"},
		unknown: `hint: the server has no component "post.example.com": add Component "post.example.com"`,
		tells:   "mode direct; the server tells",
	},
	// It sends errors for messages to the sender's own address, where posthorn
	// does not see them. Mnesia writes what it has accepted two seconds later.
	"ejabberd": {
		local: "routed", ghost: http.StatusCreated, ghostSays: `"status":"routed"`, toTwo: http.StatusCreated, checked: "check_from",
		sorts: []sending{unsendable}, restarts: 2, deepest: 2000, drops: []string{"depth"},
		unknown: `or ejabberd has no component "post.example.com"`,
		tells:   `mode direct; the server does not tell when it cannot deliver, so messages are at best "routed"`,
	},
}
