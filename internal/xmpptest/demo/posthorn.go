package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"posthorn/internal/xmpptest"
)

// defaultAddress is where posthorn listens unless told otherwise, and what the
// README's curl names.
const defaultAddress = "127.0.0.1:5288"

// A posthorn is the child, with its files in Prosody's directory.
type posthorn struct {
	process *xmpptest.Process
	address string // host:port
	logFile string
}

// configuration is the smallest one, save for the addresses and the authority
// that only exist here.
const configuration = `component:
  domain: %s
  secret: %s
  address: %s
http:
  listen: ["%s"]
metrics:
  listen: ""
auth:
  hosts:
    - domain: %s
      address: %s
      ca_file: %s
`

// startPosthorn runs the binary and waits until it can send.
func startPosthorn(ctx context.Context, binary string, p *xmpptest.Prosody) (*posthorn, error) {
	address, err := listenAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(p.Dir, "posthorn.yaml")
	yaml := fmt.Sprintf(configuration, xmpptest.ComponentDomain, xmpptest.ComponentSecret, p.ComponentAddress,
		address, xmpptest.Domain, p.ClientAddress, p.CAFile)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	h := &posthorn{address: address, logFile: filepath.Join(p.Dir, "posthorn.log")}
	if err := h.start(binary, config, filepath.Join(p.Dir, "state")); err != nil {
		return nil, fmt.Errorf("start posthorn: %w", err)
	}
	if err := h.awaitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, h.log()), h.process.Stop())
	}
	return h, nil
}

// listenAddress is the README's where that is free.
func listenAddress() (string, error) {
	if l, err := net.Listen("tcp", defaultAddress); err == nil {
		return defaultAddress, l.Close()
	}
	port, err := xmpptest.FreePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// start runs `posthorn serve` with an environment in which only this
// demonstration's settings are.
func (h *posthorn) start(binary, config, state string) error {
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	log, err := os.Create(h.logFile)
	if err != nil {
		return err
	}
	defer log.Close() // the child has it open by then
	cmd := exec.Command(binary, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "POSTHORN_") && !strings.HasPrefix(variable, "LISTEN_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "STATE_DIRECTORY="+state)
	h.process, err = xmpptest.StartProcess(cmd)
	return err
}

// awaitReady asks /readyz until messages can be sent, and not only kept.
func (h *posthorn) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("posthorn is not ready after %v", readyTimeout))
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	ended := false
	err := xmpptest.Poll(ctx, func() bool {
		select {
		case <-h.process.Done():
			ended = true
		default:
		}
		return ended || ready(client, "http://"+h.address+"/readyz")
	})
	if ended {
		return fmt.Errorf("posthorn ended at once: %v", h.process.Err())
	}
	return err
}

func ready(client *http.Client, url string) bool {
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var is struct{ Stream string }
	err = json.NewDecoder(response.Body).Decode(&is)
	return err == nil && response.StatusCode == http.StatusOK && is.Stream == "up"
}

// log is what posthorn has printed, for when something went wrong.
func (h *posthorn) log() string {
	text, err := os.ReadFile(h.logFile)
	if err != nil {
		return err.Error()
	}
	return "posthorn's log:\n" + string(text)
}
