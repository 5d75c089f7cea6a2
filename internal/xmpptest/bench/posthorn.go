package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"posthorn/internal/xmpptest"
)

// readyTimeout bounds how long posthorn may take until it can send.
const readyTimeout = 30 * time.Second

// A posthorn is the child, with its files in a directory of its own.
type posthorn struct {
	*xmpptest.Process
	dir     string
	env     []string // what differs from the configuration
	address string   // host:port
	metrics string   // host:port
	started time.Duration
}

// configuration leaves everything at its default, save for the addresses and for
// how much one sender may send.
const configuration = `component:
  domain: %s
  secret: %s
  address: %s
http:
  listen: ["%s"]
metrics:
  listen: "%s"
limits: {messages_per_second: 0}
auth:
  hosts:
    - domain: %s
      address: %s
      ca_file: %s
`

// startPosthorn runs the binary and waits until it can send: beside the server
// at that component address, with p to check the passwords.
func startPosthorn(ctx context.Context, binary, component string, p *xmpptest.Server, env ...string) (h *posthorn, err error) {
	h = &posthorn{env: env}
	if h.dir, err = os.MkdirTemp("", "posthorn-bench-"); err != nil {
		return nil, err
	}
	for _, address := range []*string{&h.address, &h.metrics} {
		port, err := xmpptest.FreePort()
		if err != nil {
			return nil, errors.Join(err, h.stop())
		}
		*address = fmt.Sprintf("127.0.0.1:%d", port)
	}
	if err := h.start(ctx, binary, component, p); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

func (h *posthorn) file(name string) string { return filepath.Join(h.dir, name) }

// nowhere is the component address of a posthorn that can only keep.
const nowhere = ""

// start runs it for the first time, or after it was stopped.
func (h *posthorn) start(ctx context.Context, binary, component string, p *xmpptest.Server) error {
	keeping := component == nowhere
	if keeping {
		port, err := xmpptest.FreePort()
		if err != nil {
			return err
		}
		component = fmt.Sprintf("127.0.0.1:%d", port)
	}
	yaml := fmt.Sprintf(configuration, xmpptest.ComponentDomain, xmpptest.ComponentSecret, component,
		h.address, h.metrics, xmpptest.Domain, p.ClientAddress, p.CAFile)
	if err := os.WriteFile(h.file("posthorn.yaml"), []byte(yaml), 0o600); err != nil {
		return err
	}
	if err := h.serve(ctx, binary, keeping); err != nil {
		return fmt.Errorf("start posthorn: %w\n%s", err, h.log())
	}
	return nil
}

// serve runs `posthorn serve` with an environment in which nothing else is set.
func (h *posthorn) serve(ctx context.Context, binary string, keeping bool) error {
	log, err := os.Create(h.file("log"))
	if err != nil {
		return err
	}
	defer log.Close() // the child has it open by then
	cmd := exec.Command(binary, "serve", "--config", h.file("posthorn.yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "POSTHORN_") && !strings.HasPrefix(variable, "LISTEN_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(append(cmd.Env, "STATE_DIRECTORY="+h.dir), h.env...)
	began := time.Now()
	if h.Process, err = xmpptest.StartProcess(cmd); err != nil {
		return err
	}
	if err := h.awaitReady(ctx, keeping); err != nil {
		return err
	}
	h.started = time.Since(began)
	return nil
}

// readyInterval is how exactly the start is timed. Asking costs posthorn less
// than a tenth of it.
const readyInterval = time.Millisecond

// awaitReady waits until messages can be sent, or kept at least.
func (h *posthorn) awaitReady(ctx context.Context, keeping bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not ready after %v", readyTimeout))
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		if response, err := client.Get("http://" + h.address + "/readyz"); err == nil {
			var is struct{ Stream string }
			err := json.NewDecoder(response.Body).Decode(&is)
			response.Body.Close()
			if err == nil && response.StatusCode == http.StatusOK && (keeping || is.Stream == "up") {
				return nil
			}
		}
		select {
		case <-h.Done():
			return fmt.Errorf("it ended at once: %v", h.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// log is what posthorn has printed, for when something went wrong.
func (h *posthorn) log() string {
	text, err := os.ReadFile(h.file("log"))
	if err != nil {
		return err.Error()
	}
	return "posthorn's log:\n" + string(text)
}

func (h *posthorn) stop() error {
	var err error
	if h.Process != nil {
		err = h.Stop()
	}
	return errors.Join(err, os.RemoveAll(h.dir))
}
