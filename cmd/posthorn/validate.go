package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"posthorn/internal/message"
)

// validate gives every value that cannot work.
func (c *config) validate(found *mistakes) {
	if account, err := message.ParseAccount("user@" + c.Component.Domain); err != nil {
		found.add("component.domain", "is %q and has to be the component's own domain, such as post.example.com", c.Component.Domain)
	} else {
		c.Component.Domain = account.Domain()
	}
	if c.Component.Secret.Empty() {
		found.add("component.secret", "is missing: the same as component_secret in the server's configuration")
	}
	if _, _, err := net.SplitHostPort(c.Component.Address); err != nil {
		found.add("component.address", "is %q and has to be host:port", c.Component.Address)
	}
	found.oneOf("component.mode", c.Component.Mode, "auto", "direct", "privilege")
	found.oneOf("policy.recipients", c.Policy.Recipients, "any", "local")
	found.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	found.oneOf("log.format", c.Log.Format, "text", "json")
	for key, n := range map[string]int64{
		"component.max_stanza": int64(c.Component.MaxStanza), "http.max_body": int64(c.HTTP.MaxBody),
		"delivery.confirm_timeout": int64(c.Delivery.ConfirmTimeout), "auth.cache.size": int64(c.Auth.Cache.Size),
	} {
		if n <= 0 {
			found.add(key, "has to be more than nothing")
		}
	}
	if c.Auth.Cache.TTL < 0 {
		found.add("auth.cache.ttl", "cannot be negative")
	}
	c.validateHTTP(found)
	c.validateHosts(found)
}

func (m *mistakes) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		m.add(key, "is %q and has to be one of %s", value, strings.Join(allowed, ", "))
	}
}

func (c *config) validateHTTP(found *mistakes) {
	if len(c.HTTP.Listen) == 0 {
		found.add("http.listen", "is empty: nobody could send")
	}
	for _, address := range c.HTTP.Listen {
		if !isListenAddress(address) {
			found.add("http.listen", "%q has to be host:port or unix:/path", address)
		}
	}
	if c.Metrics.Listen != "" && !isListenAddress(c.Metrics.Listen) {
		found.add("metrics.listen", "%q has to be host:port or unix:/path, or empty", c.Metrics.Listen)
	}
	if c.HTTP.Path != "" && c.HTTP.Path[0] != '/' {
		found.add("http.path", "is %q and has to begin with a slash", c.HTTP.Path)
	}
	for _, origin := range c.HTTP.CORSOrigins {
		if u, err := url.Parse(origin); err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
			found.add("http.cors_origins", "%q has to be scheme://host, such as https://status.example.com", origin)
		}
	}
	if (c.HTTP.TLS.CertFile == "") != (c.HTTP.TLS.KeyFile == "") {
		found.add("http.tls", "cert_file and key_file go together")
	}
}

func isListenAddress(s string) bool {
	if path, unix := strings.CutPrefix(s, "unix:"); unix {
		return path != ""
	}
	_, _, err := net.SplitHostPort(s)
	return err == nil
}

func (c *config) validateHosts(found *mistakes) {
	if len(c.Auth.Hosts) == 0 {
		found.add("auth.hosts", "is empty: name the domain whose users may send")
	}
	seen := make(map[string]bool)
	for i := range c.Auth.Hosts {
		host, key := &c.Auth.Hosts[i], fmt.Sprintf("auth.hosts[%d]", i)
		if host.TLS == "" {
			host.TLS = "starttls"
		}
		found.oneOf(key+".tls", host.TLS, "starttls", "direct", "none")
		account, err := message.ParseAccount("user@" + host.Domain)
		if err != nil {
			found.add(key+".domain", "is %q and has to be a domain, such as example.com", host.Domain)
			continue
		}
		host.Domain = account.Domain()
		if err := host.check(); err != nil {
			found.add(key, "%v", err)
		}
		if seen[host.Domain] {
			found.add(key+".domain", "%s stands there twice", host.Domain)
		}
		seen[host.Domain] = true
		if host.Domain == c.Component.Domain {
			found.add(key+".domain", "is the component's own, and has to be that of the users")
		}
	}
	if c.Auth.DefaultDomain != "" && !seen[c.Auth.DefaultDomain] {
		found.add("auth.default_domain", "%s is none of auth.hosts", c.Auth.DefaultDomain)
	}
}

// domains are those whose users may send.
func (c *config) domains() []string {
	var all []string
	for _, host := range c.Auth.Hosts {
		all = append(all, host.Domain)
	}
	return all
}
