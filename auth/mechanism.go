package auth

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
	"gosrc.io/xmpp/stanza"

	"posthorn/internal/secret"
)

// A mechanism is one way to log in that both sides have.
type mechanism struct {
	name     string
	exchange func(name string, password secret.Value) exchange
}

var scramHashes = []struct {
	name string
	hash scram.HashGeneratorFcn
}{{"SCRAM-SHA-512", scram.SHA512}, {"SCRAM-SHA-256", scram.SHA256}, {"SCRAM-SHA-1", scram.SHA1}}

// usable are the mechanisms to try, the strongest first. A binding to the
// connection is worth more than a longer hash.
func (s *session) usable() []mechanism {
	var all []mechanism
	offered := s.offered()
	bound, plain := s.bindings(offered)
	for _, b := range []binding{bound, plain} {
		for _, h := range scramHashes {
			name := h.name + b.suffix()
			if b.possible && slices.Contains(offered, name) {
				all = append(all, mechanism{name, func(user string, password secret.Value) exchange {
					return newSCRAM(h.hash, user, password, b)
				}})
			}
		}
	}
	// RFC 4616 §5: PLAIN hands over the password itself. Not without TLS, not
	// even on loopback, where any user may have taken the server's port.
	if s.tls != nil && slices.Contains(offered, "PLAIN") {
		all = append(all, mechanism{"PLAIN", func(user string, password secret.Value) exchange {
			return &plainExchange{user, password}
		}})
	}
	return all
}

// offered are the names in the stream's features (RFC 6120 §6.4.1).
func (s *session) offered() []string {
	var names []string
	mechanisms := s.features.Child(stanza.NSSASL, "mechanisms")
	if mechanisms == nil {
		return nil
	}
	for _, m := range mechanisms.Children {
		if m.Name.Space == stanza.NSSASL && m.Name.Local == "mechanism" {
			names = append(names, strings.TrimSpace(m.Text))
		}
	}
	return names
}

// A binding is what SCRAM says about the TLS connection (RFC 5802 §6).
type binding struct {
	possible bool
	data     scram.ChannelBinding // of a -PLUS mechanism
	unasked  bool                 // "y": we could, and the server does not seem to
}

func (b binding) suffix() string {
	if b.data.IsSupported() {
		return "-PLUS"
	}
	return ""
}

// bindings gives the binding of the -PLUS mechanisms, and that of the others.
//
// The flag of the others is "y" where no -PLUS is offered: a server that did
// offer it then knows that somebody has taken it out on the way. It is "n"
// where -PLUS is offered and no type is common: "y" would be refused.
func (s *session) bindings(offered []string) (bound, plain binding) {
	plain.possible = true
	plus := slices.ContainsFunc(offered, func(name string) bool { return strings.HasSuffix(name, "-PLUS") })
	switch {
	case s.tls == nil:
	case !plus:
		plain.unasked = true
	default:
		bound.data = channelBinding(s.tls, s.bindingTypes())
		bound.possible = bound.data.IsSupported()
	}
	return bound, plain
}

// bindingTypes are those that the server lists (XEP-0440). One that lists none
// has tls-unique, the default of RFC 5802 §6.1.
func (s *session) bindingTypes() []string {
	list := s.features.Child(nsChannelBinding, "sasl-channel-binding")
	if list == nil {
		return []string{string(scram.ChannelBindingTLSUnique)}
	}
	var types []string
	for _, c := range list.Children {
		if c.Name.Space == nsChannelBinding && c.Name.Local == "channel-binding" {
			types = append(types, c.Attr("type"))
		}
	}
	return types
}

// channelBinding gives the best binding of these types, or none. tls-unique
// means nothing under TLS 1.3 (RFC 9266 §3); ejabberd offers it there all the
// same (2026-11).
func channelBinding(state *tls.ConnectionState, types []string) scram.ChannelBinding {
	has := func(t scram.ChannelBindingType) bool { return slices.Contains(types, string(t)) }
	if has(scram.ChannelBindingTLSExporter) && state.Version >= tls.VersionTLS13 {
		if b, err := scram.NewTLSExporterBinding(state); err == nil {
			return b
		}
	}
	if has(scram.ChannelBindingTLSUnique) && state.Version < tls.VersionTLS13 && len(state.TLSUnique) > 0 {
		return scram.NewTLSUniqueBinding(state.TLSUnique)
	}
	if has(scram.ChannelBindingTLSServerEndpoint) {
		if b, err := scram.NewTLSServerEndpointBinding(state); err == nil {
			return b
		}
	}
	return scram.ChannelBinding{}
}
