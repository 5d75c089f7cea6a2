package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"

	"posthorn/internal/xmpptest"
)

// bareCommand makes this program the bare handler, in a process of its own as
// posthorn is.
const bareCommand = "serve-bare"

// serveBare reads each body and answers 201, as little as net/http can do.
func serveBare(address string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
}

// startBare runs it and waits until it listens.
func startBare(ctx context.Context) (_ *xmpptest.Process, address string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	port, err := xmpptest.FreePort()
	if err != nil {
		return nil, "", err
	}
	address = fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(self, bareCommand, address)
	cmd.Stderr = os.Stderr
	p, err := xmpptest.StartProcess(cmd)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := xmpptest.Poll(ctx, func() bool { return xmpptest.Accepts(address) }); err != nil {
		return nil, "", errors.Join(err, p.Kill())
	}
	return p, address, nil
}

const overNothingProse = `
64 connections, a remembered password, and in the place of the XMPP server a
listener that returns barriers and drops messages, of a net/http handler that
reads the body and answers 201. Each of the two handlers is a process of its own;
the listener runs in that of the clients. Half of posthorn's time there is
net/http's and the kernel's, a quarter reading the request and checking who sends it,
a tenth collecting garbage, and the rest the way to the stream and back.
`

// overNothing: requests a second over a server that does nothing, of a bare
// handler.
func overNothing(ctx context.Context, b bench) (_ section, err error) {
	prosody, err := xmpptest.Open(xmpptest.Options{}) // for the one check of the password
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, prosody.Close()) }()
	if err := prosody.AddUser(eight[0], password); err != nil {
		return section{}, err
	}
	n, err := openNothing()
	if err != nil {
		return section{}, err
	}
	defer n.close()
	h, err := startPosthorn(ctx, b.binary, n.address(), &prosody.Server)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	bare, address, err := startBare(ctx)
	if err != nil {
		return section{}, err
	}
	defer func() { err = errors.Join(err, bare.Kill()) }()

	requests := requestsOf(eight[:1])
	ours := &load{address: h.address, connections: 64, requests: requests, status: created, contains: `"status":"delivered"`}
	theirs := &load{address: address, connections: 64, requests: requests, status: created}
	rate, err := inTurns(ctx, b, ours, theirs)
	if err != nil {
		return section{}, fmt.Errorf("%w\n%s", err, h.log())
	}
	t := table{{"posthorn, requests/s", "bare handler, requests/s", "ratio", "target"}}
	t.add(count(median(rate.ours)), count(median(rate.theirs)), times(rate.ratio()), target(rate.ratio(), 0.6))
	return section{"Requests, of what net/http can take", overNothingProse, []table{t}}, nil
}

// inTurns compares two loads' rates.
func inTurns(ctx context.Context, b bench, ours, theirs *load) (rate comparison, err error) {
	for i := range b.rounds + 1 {
		var a, z tally
		if a, _, err = ours.run(ctx, b.span); err != nil {
			return rate, err
		}
		if z, _, err = theirs.run(ctx, b.span); err != nil {
			return rate, err
		}
		if i > 0 { // the first warms up
			rate.add(a.perSecond(), z.perSecond())
		}
	}
	return rate, nil
}
