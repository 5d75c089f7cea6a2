package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// checkListeners says of each address of http.listen whether it can be had, and who
// reaches it.
func checkListeners(r *report, c *config, all running) {
	for _, address := range c.HTTP.Listen {
		step := "listener " + address
		text := "free"
		h, answers := all[address]
		if answers {
			text = "posthorn " + h.Version + " answers"
		} else if hint, err := mayListen(address); err != nil {
			reportTaken(r, step, err, hint, "http.listen")
			continue
		}
		switch path, isSocket := strings.CutPrefix(address, "unix:"); {
		case isSocket && !c.proxies.unix && len(c.proxies.networks) == 0:
			r.warn(step, "add unix to http.trusted_proxies, if a reverse proxy opens the socket", "%s; nobody who opens %s is trusted to name its clients, so all count as one", text, path)
		case !isSocket && c.HTTP.TLS.CertFile == "" && reachable(address):
			r.warn(step, "listen on 127.0.0.1 behind a reverse proxy with TLS, or set http.tls", "%s; others reach it without TLS: passwords and texts cross the network in clear", text)
		default:
			r.ok(step, "%s", text)
		}
	}
}

// checkMetrics does the same for the metrics, and asks them what a running posthorn does
// not tell strangers.
func checkMetrics(ctx context.Context, r *report, c *config) {
	address := c.Metrics.Listen
	step := "metrics " + address
	switch {
	case address == "":
		r.ok("metrics", "off")
		return
	case slices.Contains(c.HTTP.Listen, address):
		r.fail(step, errors.New("http.listen has the same address"), "give metrics.listen another port, or leave it empty")
		return
	}
	text := "free"
	_, metrics := askLocal(ctx, address, "http", "/metrics", nil)
	if mute, answers := metricOf(metrics, "posthorn_component_mute_hosts"); !answers {
		if hint, err := mayListen(address); err != nil {
			reportTaken(r, step, err, hint, "metrics.listen")
			return
		}
	} else if text = "posthorn answers"; mute != "0" {
		r.fail(step, fmt.Errorf("the running posthorn may not speak for the users of %s of its hosts", mute), "its log names them and the lines to change (does not let the component speak)")
		return
	}
	if reachable(address) {
		r.warn(step, "listen on 127.0.0.1, or let a firewall admit Prometheus alone", "%s; others reach it, and it has no password", text)
		return
	}
	r.ok(step, "%s", text)
}

// reportTaken says why an address cannot be had. What only permissions are in the way of
// may be otherwise for the service.
func reportTaken(r *report, step string, err error, hint, key string) {
	switch {
	case hint != "":
		r.warn(step, hint, "%v", err)
	case errors.Is(err, syscall.EADDRINUSE):
		r.fail(step, errors.New("another program has it, or a posthorn with another configuration"), "ss -lptn names it: stop it, or change "+key)
	default:
		r.fail(step, err, "set "+key+" to an address of this machine")
	}
}

// mayListen tries an address that nobody of ours has, and lets go of it. The hint is there
// where the service may succeed where we did not.
func mayListen(address string) (hint string, err error) {
	path, isSocket := strings.CutPrefix(address, "unix:")
	if isSocket {
		return mayListenAt(path)
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		_ = l.Close()
		return "", nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return "only root may listen below port 1024: let systemd do it (deploy/systemd/posthorn.socket), or take a higher port", err
	}
	return "", err
}

// mayListenAt makes no file: it would be ours, and not the service's.
func mayListenAt(path string) (hint string, err error) {
	_, err = os.Stat(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "make the directory, or let systemd: RuntimeDirectory=posthorn", err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "run the check as posthorn's user, or as root", err
	case info.Mode()&fs.ModeSocket == 0:
		return "", fmt.Errorf("%s is there and is no socket", path)
	case !abandoned(path):
		return "", syscall.EADDRINUSE
	}
	return "", nil
}

// reachable reports whether others than this machine reach an address of a listener.
func reachable(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return false
	}
	at, err := net.ResolveTCPAddr("tcp", address)
	return err == nil && !staysHere(at)
}
