package main

import (
	"fmt"
	"net/netip"
)

// proxies are those whose word on a client's address counts.
type proxies struct {
	networks []netip.Prefix
	unix     bool // and whoever may open a Unix socket of ours
}

// readProxies reads http.trusted_proxies: addresses, networks, or the word unix.
func readProxies(list []string, found *mistakes) (p proxies) {
	for i, text := range list {
		if text == "unix" {
			p.unix = true
			continue
		}
		network, err := readNetwork(text)
		if err != nil {
			found.add(fmt.Sprintf("http.trusted_proxies[%d]", i), "%q has to be an address, a network such as 10.0.0.0/8, or unix", text)
			continue
		}
		p.networks = append(p.networks, network)
	}
	return p
}

// readNetwork reads a network or a single address. An IPv4 address is one, also
// where it is written within IPv6.
func readNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		address = address.Unmap().WithZone("")
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if address := network.Addr(); err == nil && address.Is4In6() {
		return address.Unmap().Prefix(network.Bits() - 96) // an error where it is more than IPv4
	}
	return network.Masked(), err
}
