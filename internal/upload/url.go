package upload

import (
	"net/netip"
	"net/url"
	"strings"

	"posthorn/internal/fault"
)

// check gives where the file goes, and the link to it. Both have to be of the form that
// every client can read, whatever is made of them: absolute, in ASCII, without a name
// and a password.
func (s Slot) check() (put *url.URL, get string, err error) {
	put, get = readURL(s.Put), ""
	if link := readURL(s.Get); link != nil && (link.Scheme == "https" || link.Scheme == "http") {
		get = link.String()
	}
	switch {
	case put == nil || get == "" || put.Scheme != "https" && put.Scheme != "http":
		return nil, "", fault.New(fault.Unavailable, "the upload service %s gave an address that cannot be used", s.Service)
	case put.Scheme == "http" && !isLoopback(put.Hostname()):
		// XEP-0363 §4: the host has to provide TLS. The file and the authorization of
		// the slot would cross the network for everybody to read.
		return nil, "", fault.New(fault.Unavailable, "the upload service %s wants the file by http without TLS, at %s: let its address begin with https (http_external_url in prosody.cfg.lua, put_url in ejabberd.yml)", s.Service, put.Host)
	}
	return put, get, nil
}

// readURL gives nil for what is none.
func readURL(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.User != nil {
		return nil
	}
	invisible := func(r rune) bool { return r <= ' ' || r > '~' }
	if strings.ContainsFunc(u.Host, invisible) || strings.ContainsFunc(u.String(), invisible) {
		return nil
	}
	return u
}

// isLoopback reports whether nobody but this machine hears what is said to a host.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}
