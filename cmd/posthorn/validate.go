package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"posthorn/component"
	"posthorn/internal/message"
)

// validate gives every value that cannot work.
func (c *config) validate(found *mistakes) {
	if !normalize(&c.Component.Domain) {
		found.add("component.domain", "is %q and has to be the component's own domain, such as post.example.com", c.Component.Domain)
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
	found.within("component.max_stanza", int64(c.Component.MaxStanza), 1<<10, component.MaxStanzaLimit, "bytes")
	found.within("http.max_body", int64(c.HTTP.MaxBody), 1, maxBodyLimit, "bytes")
	found.within("http.max_attachment", int64(c.HTTP.MaxFile), 0, maxFileLimit, "bytes")
	found.within("auth.cache.size", int64(c.Auth.Cache.Size), 1, 1<<24, "passwords")
	found.within("auth.cache.ttl", int64(c.Auth.Cache.TTL.Seconds()), 0, 24*60*60, "seconds")
	found.within("auth.cache.stale_ttl", int64(c.Auth.Cache.StaleTTL.Seconds()), 0, 7*24*60*60, "seconds")
	found.within("auth.throttle.failures", int64(c.Auth.Throttle.Failures), 0, 1e6, "failures")
	found.within("auth.throttle.window", int64(c.Auth.Throttle.Window.Seconds()), 1, 24*60*60, "seconds")
	found.within("limits.messages_per_second", int64(c.Limits.MessagesPerSecond), 0, 1e6, "messages")
	found.within("limits.burst", int64(c.Limits.Burst), 1, 1e6, "messages")
	found.within("delivery.confirm_timeout", c.Delivery.ConfirmTimeout.Milliseconds(), 100, confirmLimit.Milliseconds(), "milliseconds")
	found.within("delivery.keep", int64(c.Delivery.Keep.Seconds()), 1, 366*24*60*60, "seconds")
	found.within("delivery.remember", int64(c.Delivery.Remember.Seconds()), 60, 30*24*60*60, "seconds")
	found.within("delivery.max_kept", int64(c.Delivery.MaxKept), 1<<20, 1<<40, "bytes")
	found.within("component.room_idle", int64(c.Component.RoomIdle.Seconds()), 1, 24*60*60, "seconds")
	if info, err := os.Stat(c.Hooks.Dir); c.Hooks.Dir != "" && (err != nil || !info.IsDir()) {
		found.add("hooks.dir", "%s has to be a directory with templates, such as grafana.tmpl", c.Hooks.Dir)
	}
	c.validateHTTP(found)
	c.validateHosts(found)
	c.validateSenders(found)
}

const (
	// maxBodyLimit keeps a thousand requests within a gigabyte.
	maxBodyLimit = 1 << 20 // bytes
	// maxFileLimit keeps the files that are under way at once within eight gigabytes
	// of disk, and is more than a slow line carries in the time that one is given.
	maxFileLimit = 1 << 30 // bytes
	// confirmLimit is less than what a silent server is given (20 s), and
	// leaves time for an answer before writeTimeout.
	confirmLimit = 15 * time.Second
)

func (m *mistakes) within(key string, n, least, most int64, unit string) {
	if n < least || n > most {
		m.add(key, "has to be between %d and %d %s", least, most, unit)
	}
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
	for i, address := range c.HTTP.Listen {
		if !isListenAddress(address) {
			found.add(fmt.Sprintf("http.listen[%d]", i), "%q has to be host:port or unix:/path", address)
		}
	}
	if c.Metrics.Listen != "" && !isListenAddress(c.Metrics.Listen) {
		found.add("metrics.listen", "%q has to be host:port or unix:/path, or empty", c.Metrics.Listen)
	}
	switch path := strings.TrimRight(c.HTTP.Path, "/"); {
	case path != "" && path[0] != '/':
		found.add("http.path", "is %q and has to begin with a slash", c.HTTP.Path)
	case slices.Contains([]string{"/healthz", "/readyz", "/rest", "/messages", "/tokens", "/hook", "/docs", "/status", "/page"}, path):
		found.add("http.path", "is %q, which leads elsewhere: take another", c.HTTP.Path)
	}
	for i, origin := range c.HTTP.CORSOrigins {
		if u, err := url.Parse(origin); err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
			found.add(fmt.Sprintf("http.cors_origins[%d]", i), "%q has to be scheme://host, such as https://status.example.com", origin)
		}
	}
	c.proxies = readProxies(c.HTTP.Proxies, found)
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
		if !normalize(&host.Domain) {
			found.add(key+".domain", "is %q and has to be a domain, such as example.com", host.Domain)
			continue
		}
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
	normalize(&c.Auth.DefaultDomain)
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

// validateSenders reads policy.senders, in which a typo would silently allow
// nobody.
func (c *config) validateSenders(found *mistakes) {
	for i := range c.Policy.Senders {
		sender := &c.Policy.Senders[i]
		account, err := message.ParseAccount(*sender)
		switch {
		case err == nil && !strings.Contains(*sender, "/"):
			*sender = string(account)
		case !normalize(sender):
			found.add(fmt.Sprintf("policy.senders[%d]", i), "%q has to be a JID such as me@example.com, or a domain", *sender)
		}
	}
}

// normalize gives a domain the form in which addresses have it.
func normalize(domain *string) bool {
	is, err := message.ParseDomain(*domain)
	if err == nil {
		*domain = is
	}
	return err == nil
}
