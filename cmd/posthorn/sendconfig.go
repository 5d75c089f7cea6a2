package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"posthorn/internal/message"
	"posthorn/internal/secret"
)

// sendConfig is send.yaml, which is a user's own and not the service's.
type sendConfig struct {
	URL      string       `mapstructure:"url"`
	JID      string       `mapstructure:"jid"`
	Password secret.Value `mapstructure:"password"`
	Token    secret.Value `mapstructure:"token"`
	CAFile   string       `mapstructure:"ca_file"`

	base   string         // of the service's paths, without a slash at its end
	socket string         // the service's, in place of an address; "": none
	cas    *x509.CertPool // nil: the system's
}

// sendKeys are the keys of send.yaml. Never written to.
var sendKeys = []string{"url", "jid", "password", "token", "ca_file"}

// loadSendConfig reads the file, or where that is empty the user's, and the
// environment, which counts more.
func loadSendConfig(file string, getenv func(string) string) (*sendConfig, error) {
	c, found := &sendConfig{URL: "http://127.0.0.1:5288"}, mistakes{}
	if err := c.readFile(file, getenv, &found); err != nil {
		return nil, err
	}
	c.readEnvironment(getenv)
	c.readURL(&found)
	c.checkCredential(&found)
	if c.CAFile != "" {
		var err error
		if c.cas, err = readCAs(c.CAFile); err != nil {
			found.add("ca_file", "%v", err)
		}
	}
	if err := found.err(); err != nil {
		return nil, fmt.Errorf("configuration:\n%w", err)
	}
	return c, nil
}

func (c *sendConfig) readFile(file string, getenv func(string) string, found *mistakes) error {
	named := file != ""
	if !named {
		file = usersSendFile(getenv)
	}
	f, err := os.Open(file) // #nosec G304 -- who runs posthorn names it
	if err != nil && !named && errors.Is(err, fs.ErrNotExist) {
		return nil // the environment may say it all
	} else if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkPrivate(file, info, os.Geteuid()); err != nil {
		return err
	}
	v := viper.New()
	v.SetConfigType("yaml")
	if v.ReadConfig(f) != nil { // the cause would quote the file
		return fmt.Errorf("%s has to consist of lines such as jid: me@example.com", file)
	}
	addAll(v.Unmarshal(c, viper.DecodeHook(mapstructure.DecodeHookFuncType(readSecret))), found)
	for _, key := range v.AllKeys() {
		if !slices.Contains(sendKeys, key) {
			found.add(key, "there is no such key: there are %s", strings.Join(sendKeys, ", "))
		}
	}
	return nil
}

// usersSendFile is where it is by the XDG Base Directory Specification (version
// 0.8), by which a relative path counts as none; "" without a home.
func usersSendFile(getenv func(string) string) string {
	dir, home := getenv("XDG_CONFIG_HOME"), getenv("HOME")
	if !filepath.IsAbs(dir) {
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "posthorn", "send.yaml")
}

// checkPrivate refuses a file that others can read, or have written.
func checkPrivate(name string, info fs.FileInfo, user int) error {
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != user {
		return fmt.Errorf("%s belongs to another user", name)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s may be read or written by others: chmod 600 %s", name, name)
	}
	return nil
}

// readEnvironment: a password or a token there replaces both in the file.
func (c *sendConfig) readEnvironment(getenv func(string) string) {
	if written := getenv("POSTHORN_URL"); written != "" {
		c.URL = written
	}
	if jid := getenv("POSTHORN_JID"); jid != "" {
		c.JID = jid
	}
	if password, token := getenv("POSTHORN_PASSWORD"), getenv("POSTHORN_TOKEN"); password != "" || token != "" {
		c.Password, c.Token = secret.New(password), secret.New(token)
	}
}

// readURL takes the URL of the service, or that of its messages.
func (c *sendConfig) readURL(found *mistakes) {
	path, isSocket := strings.CutPrefix(c.URL, "unix:")
	if isSocket && filepath.IsAbs(path) {
		c.base, c.socket = "http://localhost", path
		return
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "":
		found.add("url", "has to be such as https://example.com or unix:/run/posthorn/http.sock")
	case u.User != nil:
		found.add("url", "names a user: that is for jid, password and token")
	default:
		c.base = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(c.URL, "/"), "/msg"), "/")
	}
}

// checkCredential: a token says whose it is, a password does not.
func (c *sendConfig) checkCredential(found *mistakes) {
	switch {
	case c.Password.Empty() && c.Token.Empty():
		found.add("password", "is missing, and so is a token: set POSTHORN_PASSWORD or POSTHORN_TOKEN, or write one into ~/.config/posthorn/send.yaml")
	case !c.Password.Empty() && !c.Token.Empty():
		found.add("token", "stands beside a password: keep one of them")
	case strings.ContainsFunc(c.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		found.add("token", "has a character that no token has")
	case c.Token.Empty() && c.JID == "":
		found.add("jid", "is missing: whose password is it?")
	case c.Token.Empty():
		c.checkJID(found)
	}
}

func (c *sendConfig) checkJID(found *mistakes) {
	written := c.JID
	if !strings.Contains(written, "@") {
		written += "@example.com" // the service knows the domain
	}
	if _, err := message.ParseAccount(written); err != nil {
		found.add("jid", "%q %v", c.JID, err)
	}
}

// inClear reports whether the secret can be read on its way by others than this
// machine's administrator. It is sent nevertheless, as curl sends it: within a
// private network, which nothing here can tell from another, that is how it is done.
func (c *sendConfig) inClear() bool {
	u, err := url.Parse(c.base)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}
