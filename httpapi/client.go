package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// client is the address of who sent the request; not valid for one on this machine
// who came by a socket without addresses. A trusted proxy's word counts for whom
// it heard, and what that one said counts only where it is trusted too: so the list
// of those who passed the request on is walked from its end. Where a word is no
// address, the walk ends at who said it.
func (x *exchange) client() netip.Addr {
	peer, trusted := x.peer()
	if !trusted {
		x.warnOfProxy(peer)
		return peer
	}
	for _, said := range backwards(x.r.Header) {
		next, ok := parseNode(said)
		if !ok {
			return peer
		}
		if peer = next; !x.trusts(peer) {
			return peer
		}
	}
	return peer
}

// peer is who holds the connection, and whether it is a proxy of ours. A socket's
// file says by its permissions who may connect.
func (x *exchange) peer() (address netip.Addr, trusted bool) {
	at, err := netip.ParseAddrPort(x.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, x.options.TrustUnix
	}
	address = at.Addr().Unmap().WithZone("")
	return address, x.trusts(address)
}

func (h *Handler) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(h.options.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// warnOfProxy says once that a proxy on this machine is taken for everybody who
// comes through it.
func (x *exchange) warnOfProxy(peer netip.Addr) {
	forwarded := len(x.r.Header["X-Forwarded-For"])+len(x.r.Header["Forwarded"]) > 0
	if !forwarded || peer.IsValid() && !peer.IsLoopback() {
		return
	}
	x.unlisted.Do(func() {
		x.options.Log.Warn("requests come through a proxy that http.trusted_proxies does not list: all who use it count as one client", "addr", addressInLog(peer))
	})
}

// backwards is what proxies said of whom they heard, the last first, as it was
// written. Of both headers X-Forwarded-For counts: that is what proxies write or
// extend unless they are told otherwise (nginx and HAProxy by their usual line,
// Apache, Caddy and Traefik by themselves), while they hand on as it came a
// Forwarded that a client made up.
func backwards(header http.Header) []string {
	if lines := header["X-Forwarded-For"]; len(lines) > 0 {
		nodes := splitFromEnd(strings.Join(lines, ","), ',')
		for i := range nodes {
			nodes[i] = strings.TrimSpace(nodes[i])
		}
		return nodes
	}
	var nodes []string
	if lines := header["Forwarded"]; len(lines) > 0 {
		for _, element := range splitFromEnd(strings.Join(lines, ","), ',') {
			nodes = append(nodes, forParameter(element))
		}
	}
	return nodes
}

// forParameter is the for= of an element (RFC 7239 §4), empty where there is none,
// or more than one.
func forParameter(element string) string {
	var node string
	for _, pair := range splitFromEnd(element, ';') {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if node != "" {
			return ""
		}
		node = value
		if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
			node = value[1 : n-1]
		}
	}
	return node
}

// splitFromEnd takes a list apart, the last part first. From the end, because that
// is the trusted one: a quote that a client has left open at the beginning must
// not swallow what the proxy has added. No address has anything escaped in it.
func splitFromEnd(list string, separator byte) []string {
	var parts []string
	quoted, end := false, len(list)
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == separator && !quoted:
			parts = append(parts, list[i+1:end])
			end = i
		}
	}
	return append(parts, list[:end])
}

// parseNode reads an address with or without a port, in brackets or without: RFC
// 7239 §6, and what stands in X-Forwarded-For.
func parseNode(s string) (netip.Addr, bool) {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	if n := len(s); n > 1 && s[0] == '[' && s[n-1] == ']' {
		s = s[1 : n-1]
	}
	address, err := netip.ParseAddr(s)
	return address.Unmap().WithZone(""), err == nil
}

// addressInLog is what addr is in the log.
func addressInLog(client netip.Addr) string {
	if !client.IsValid() {
		return "unix"
	}
	return client.String()
}
