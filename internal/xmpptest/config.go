package xmpptest

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

// What the files in deploy/ and their examples say.
const (
	Domain          = "example.com"
	ComponentDomain = "post.example.com"
	ComponentSecret = "change-me"
)

// Options say in what the server differs from the plain one: one host,
// example.com, and deploy/prosody.cfg.lua as it stands.
type Options struct {
	Hosts            []Host   // default: Domain alone
	CertificateNames []string // default: the hosts; 127.0.0.1 is always there
	PlainPasswords   bool     // stored as they are (internal_plain), not as SCRAM hashes
	TLS              string   // more Lua for the ssl table: protocol = "tlsv1_2"
	LogLevel         string   // default: info
	Modules          []string // for every host, beside the few that are always there
	Uploads          bool     // has the upload service of deploy/prosody.cfg.lua, by HTTPS at UploadAddress
	UploadOptions    string   // more Lua for that

	Global    string // Lua after the global settings; what is set again wins
	Component []Edit // what becomes of deploy/prosody.cfg.lua, one after another
	Extra     string // Lua at the very end: Component "rooms.example.com" "muc"
}

// A Host is a VirtualHost.
type Host struct {
	Domain string
	Lua    string // its settings
}

// An Edit changes the lines that an administrator adds. It fails where it finds
// nothing to change, so that a test can't pass because the file has moved on.
type Edit func(lines string) (string, error)

// Replace puts one text in the place of another, everywhere.
func Replace(old, new string) Edit {
	return func(lines string) (string, error) {
		if !strings.Contains(lines, old) {
			return "", fmt.Errorf("replace %q: not there", old)
		}
		return strings.ReplaceAll(lines, old, new), nil
	}
}

// Without takes the line out that sets something, so that the server's default
// holds: Without("validate_from_addresses"), Without("check_from").
func Without(setting string) Edit {
	line := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(setting) + `\s*[=:].*\n`)
	return func(lines string) (string, error) {
		if !line.MatchString(lines) {
			return "", fmt.Errorf("without %s: it is not set", setting)
		}
		return line.ReplaceAllString(lines, ""), nil
	}
}

// disabled is a line of Lua behind dashes, or one of YAML behind #. Prose has
// one space after them.
var disabled = regexp.MustCompile(`(?m)^(?:--(\t|\w)|#(  |\w))`)

// Privilege follows the file's own advice for XEP-0356: it deletes the line
// that ends the check of addresses, and takes the dashes or # away.
func Privilege(lines string) (string, error) {
	enabled, err := enable(lines, "Safer, with mod_privilege")
	if err != nil {
		return "", err
	}
	setting := "validate_from_addresses"
	if strings.Contains(lines, "check_from:") {
		setting = "check_from"
	}
	return Without(setting)(enabled)
}

// enable takes the dashes or # away in the paragraph that begins so.
func enable(lines, beginning string) (string, error) {
	paragraphs := strings.Split(lines, "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(strings.TrimLeft(p, "\n-# "), beginning) && disabled.MatchString(p) {
			paragraphs[i] = disabled.ReplaceAllString(p, "$1$2")
			return strings.Join(paragraphs, "\n\n"), nil
		}
	}
	return "", fmt.Errorf("no line under %q to take the dashes from", beginning)
}

// uploads follows the advice of deploy/prosody.cfg.lua for attachments.
func uploads(options string) Edit {
	return func(lines string) (string, error) {
		enabled, err := enable(lines, "Attachments go to")
		if err != nil {
			return "", err
		}
		return Replace(uploadModule, uploadModule+"\n\t"+options)(enabled)
	}
}

const uploadModule = `"http_file_share"`

// NoComponent leaves the server as it was before posthorn.
func NoComponent(string) (string, error) { return "", nil }

var (
	//go:embed prosody.cfg.lua.tmpl
	prosodyText string
	//go:embed ejabberd.yml.tmpl
	ejabberdText string

	prosodyConfig  = newTemplate(prosodyText)
	ejabberdConfig = newTemplate(ejabberdText)
)

// prosodyValues and ejabberdValues are what the templates are filled with.
type (
	prosodyValues struct {
		Options
		*Server
	}
	ejabberdValues struct {
		EjabberdOptions
		*Ejabberd
	}
)

func newTemplate(text string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"port": portOf}).Parse(text))
}

// writeConfig writes the server's own configuration, and beside it the lines
// for posthorn, which it includes.
func writeConfig(base *template.Template, file, included, lines string, values any) error {
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), included), []byte(lines), 0o600); err != nil {
		return err
	}
	var text strings.Builder
	if err := base.Execute(&text, values); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

// deployed is a file of deploy/, edited.
func deployed(name string, edits []Edit) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	file := filepath.Join(root, "deploy", name)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	lines := string(text)
	for _, edit := range edits {
		if lines, err = edit(lines); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
	}
	return lines, nil
}

// Root is the directory of this module: the first with a go.mod, upward from
// the working directory, which for a test is its package's.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("xmpptest: no go.mod above the working directory: run it inside the checkout")
		}
		dir = parent
	}
}
