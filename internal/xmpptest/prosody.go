package xmpptest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Prosody is the server of Debian's package prosody.
type Prosody struct {
	Server
}

// Open makes the directory and starts Prosody in it. Close ends both.
func Open(o Options) (*Prosody, error) {
	if err := installed("prosody", "prosodyctl"); err != nil {
		return nil, err
	}
	p := &Prosody{Server{Name: "Prosody", portTaken: "Failed to open server port"}}
	p.accounts = prosodyctl{&p.Server}
	p.command = func() *exec.Cmd { return exec.Command("prosody", "-F", "--config", p.Config) }
	if err := p.open(func() error { return p.prepare(o) }); err != nil {
		return nil, err
	}
	return p, nil
}

// prepare writes everything that Start needs.
func (p *Prosody) prepare(o Options) error {
	if len(o.Hosts) == 0 {
		o.Hosts = []Host{{Domain: Domain}}
	}
	names := o.CertificateNames
	if names == nil {
		for _, h := range o.Hosts {
			names = append(names, h.Domain)
		}
	}
	if err := p.certify(names); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(p.Dir, "data"), 0o700); err != nil {
		return err
	}
	edits := o.Component
	if o.Uploads {
		edits = append(slices.Clone(edits), uploads(o.UploadOptions))
		p.listening = append(p.listening, p.UploadAddress)
	}
	lines, err := deployed("prosody.cfg.lua", edits)
	if err != nil {
		return err
	}
	p.listening = append(p.listening, p.ClientAddress, p.DirectTLSAddress)
	if strings.Contains(lines+o.Extra, "component_secret") {
		p.listening = append(p.listening, p.ComponentAddress)
	}
	p.Config = filepath.Join(p.Dir, "prosody.cfg.lua")
	return writeConfig(prosodyConfig, p.Config, "posthorn.cfg.lua", lines, prosodyValues{o, &p.Server})
}

// prosodyctlTimeout bounds one run of prosodyctl. It takes a third of a second;
// the rest is for a busy machine.
const prosodyctlTimeout = 30 * time.Second

// prosodyctl works on the files of a server, which need not run.
type prosodyctl struct{ *Server }

func (p prosodyctl) add(jid, password string) error {
	local, domain, _ := strings.Cut(jid, "@")
	return p.run("register", local, domain, password)
}

func (p prosodyctl) remove(jid string) error { return p.run("deluser", jid) }

func (p prosodyctl) settle() error { return nil }

func (p prosodyctl) run(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), prosodyctlTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "prosodyctl", append([]string{"--config", p.Config}, args...)...)
	cmd.Dir = p.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("xmpptest: prosodyctl %s %s: %w\n%s", args[0], args[1], err, out)
	}
	return nil
}
