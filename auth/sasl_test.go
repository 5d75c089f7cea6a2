package auth

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/xdg-go/scram"

	"posthorn/internal/fault"
)

// scramServer knows me, with the password.
func scramServer(t *testing.T, hash scram.HashGeneratorFcn, password string, iterations int) *scram.Server {
	client, err := hash.NewClientUnprepped("me", password, "")
	if err != nil {
		t.Error(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: iterations})
	if err != nil {
		t.Error(err)
	}
	server, err := hash.NewServer(func(name string) (scram.StoredCredentials, error) {
		if name != "me" {
			return stored, fmt.Errorf("no account %q", name)
		}
		return stored, nil
	})
	if err != nil {
		t.Error(err)
	}
	return server
}

// scram plays a mechanism up to its verdict, which it gives with the server's
// last message; flag is what the client said about channel binding.
func (p *peer) scram(mechanism string, c *scram.ServerConversation) (last string, valid bool, flag string) {
	auth := p.hear(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="` + mechanism + `">(.*)</auth>`)
	first, err := c.Step(decodeText(p, auth[1]))
	flag, _, _ = strings.Cut(decodeText(p, auth[1]), ",")
	if err != nil {
		return "", false, flag
	}
	p.say("<challenge " + sasl + ">" + encode(first) + "</challenge>")
	last, _ = c.Step(decodeText(p, p.hear("<response " + sasl + ">(.+)</response>")[1]))
	return last, c.Valid(), flag
}

func decodeText(p *peer, text string) string {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		p.t.Error(err)
	}
	return string(data)
}

func (p *peer) verdict(last string, valid bool) {
	if valid {
		p.succeed(encode(last))
	} else {
		p.say(failure("not-authorized"))
	}
	p.end()
}

// TestSCRAM: the strongest mechanism is taken, bound to the connection where
// both sides can.
func TestSCRAM(t *testing.T) {
	for _, test := range []struct {
		name      string
		mode      TLSMode
		version   uint16
		features  string
		mechanism string
		flag      string
	}{
		{"all of them", DirectTLS, tls.VersionTLS13, mechanisms("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-512", "SCRAM-SHA-256"), "SCRAM-SHA-512", "y"},
		{"two", DirectTLS, tls.VersionTLS13, mechanisms("SCRAM-SHA-1", "SCRAM-SHA-256"), "SCRAM-SHA-256", "y"},
		{"without TLS", NoTLS, 0, mechanisms("SCRAM-SHA-1", "PLAIN"), "SCRAM-SHA-1", "n"},
		{"-PLUS without TLS", NoTLS, 0, mechanisms("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"), "SCRAM-SHA-1", "n"},
		{"TLS 1.3, exporter", DirectTLS, tls.VersionTLS13, mechanisms("SCRAM-SHA-512", "SCRAM-SHA-1-PLUS") + bindingTypes("tls-server-end-point", "tls-exporter"), "SCRAM-SHA-1-PLUS", "p=tls-exporter"},
		{"TLS 1.3, tls-unique by default", DirectTLS, tls.VersionTLS13, mechanisms("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), "SCRAM-SHA-1", "n"},
		{"TLS 1.3, tls-unique listed", DirectTLS, tls.VersionTLS13, mechanisms("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1") + bindingTypes("tls-unique"), "SCRAM-SHA-1", "n"},
		{"TLS 1.3, end point", DirectTLS, tls.VersionTLS13, mechanisms("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1") + bindingTypes("tls-unique", "tls-server-end-point"), "SCRAM-SHA-1-PLUS", "p=tls-server-end-point"},
		{"TLS 1.2, tls-unique by default", DirectTLS, tls.VersionTLS12, mechanisms("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), "SCRAM-SHA-1-PLUS", "p=tls-unique"},
		{"TLS 1.2, an unknown type", DirectTLS, tls.VersionTLS12, mechanisms("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1") + bindingTypes("tls-other"), "SCRAM-SHA-1", "n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			hash := scram.SHA1
			for _, h := range scramHashes {
				if strings.HasPrefix(test.mechanism, h.name) {
					hash = h.hash
					break
				}
			}
			for given, want := range map[string]fault.Kind{password: fault.Internal, "wrong": fault.Unauthenticated} {
				synctest.Test(t, func(t *testing.T) {
					server := scramServer(t, hash, password, 4096)
					r := newRig(t, test.mode, func(p *peer) {
						c := server.NewConversation()
						if test.mode == DirectTLS {
							p.config = p.config.Clone()
							p.config.MaxVersion = test.version
							state := p.encrypt()
							if strings.HasSuffix(test.mechanism, "-PLUS") {
								c = server.NewConversationWithChannelBindingRequired(serverBinding(t, test.flag, state, p.config))
							}
						}
						p.open(test.features)
						last, valid, flag := p.scram(test.mechanism, c)
						if flag != test.flag {
							t.Errorf("flag %q, want %q", flag, test.flag)
						}
						p.verdict(last, valid)
					})
					err := r.verify(given)
					r.done()
					if kind := kindOf(err); kind != want {
						t.Errorf("Verify(%q) = %v, want kind %d", given, err, want)
					}
				})
			}
		})
	}
}

// kindOf is Internal for no error, which no error of this package is.
func kindOf(err error) fault.Kind {
	if err == nil {
		return fault.Internal
	}
	return fault.Of(err).Kind
}

// serverBinding is the binding as the server sees it.
func serverBinding(t *testing.T, flag string, state *tls.ConnectionState, config *tls.Config) scram.ChannelBinding {
	var b scram.ChannelBinding
	var err error
	switch flag {
	case "p=tls-exporter":
		b, err = scram.NewTLSExporterBinding(state)
	case "p=tls-unique":
		b = scram.NewTLSUniqueBinding(state.TLSUnique)
	case "p=tls-server-end-point":
		mine := *state
		leaf := config.Certificates[0]
		if leaf.Leaf == nil {
			t.Error("the test certificate has no Leaf")
		}
		mine.PeerCertificates = append(mine.PeerCertificates, leaf.Leaf)
		b, err = scram.NewTLSServerEndpointBinding(&mine)
	}
	if err != nil {
		t.Error(err)
	}
	return b
}

// TestHostileSASL: a server that cheats is no verdict about the password.
func TestHostileSASL(t *testing.T) {
	challenge := func(p *peer, format string) {
		auth := p.hear(`<auth .* mechanism="SCRAM-SHA-1">(.*)</auth>`)
		_, nonce, _ := strings.Cut(decodeText(p, auth[1]), "r=")
		p.say("<challenge " + sasl + ">" + encode(fmt.Sprintf(format, nonce)) + "</challenge>")
	}
	server := scramServer(t, scram.SHA1, password, 4096)
	for _, test := range []struct {
		name   string
		offer  string
		script func(*peer)
		want   Reason
	}{
		{"one iteration", "SCRAM-SHA-1", func(p *peer) { challenge(p, "r=%sx,s=c2FsdA==,i=1"); p.end() }, Broken},
		{"a billion iterations", "SCRAM-SHA-1", func(p *peer) { challenge(p, "r=%sx,s=c2FsdA==,i=1000000000"); p.end() }, Broken},
		{"iterations beyond int", "SCRAM-SHA-1", func(p *peer) { challenge(p, "r=%sx,s=c2FsdA==,i=99999999999999999999"); p.end() }, Broken},
		{"no iterations", "SCRAM-SHA-1", func(p *peer) { challenge(p, "r=%sx,s=c2FsdA=="); p.end() }, Broken},
		{"iterations hidden", "SCRAM-SHA-1", func(p *peer) { challenge(p, "r=%sx,s=c2FsdA==,i=4096i=1"); p.end() }, Broken},
		{"another nonce", "SCRAM-SHA-1", func(p *peer) { challenge(p, "r=x%s,s=c2FsdA==,i=4096"); p.end() }, Broken},
		{"not base64", "SCRAM-SHA-1", func(p *peer) { p.hear("<auth .*"); p.say("<challenge " + sasl + ">%</challenge>"); p.end() }, Broken},
		{"success at once", "SCRAM-SHA-1", func(p *peer) { p.hear("<auth .*"); p.say("<success " + sasl + "/>"); p.end() }, Broken},
		{"success with a signature at once", "SCRAM-SHA-1", func(p *peer) {
			p.hear("<auth .*")
			p.say("<success " + sasl + ">" + encode("v=AAAA") + "</success>")
			p.end()
		}, Broken},
		{"success without the signature", "SCRAM-SHA-1", func(p *peer) {
			p.scram("SCRAM-SHA-1", server.NewConversation())
			p.say("<success " + sasl + ">=</success>")
			p.end()
		}, Broken},
		{"a wrong signature", "SCRAM-SHA-1", func(p *peer) {
			p.scram("SCRAM-SHA-1", server.NewConversation())
			p.say("<success " + sasl + ">" + encode("v=AAAA") + "</success>")
			p.end()
		}, Broken},
		{"the signature in a challenge", "SCRAM-SHA-1", func(p *peer) {
			last, _, _ := p.scram("SCRAM-SHA-1", server.NewConversation())
			p.say("<challenge " + sasl + ">" + encode(last) + "</challenge>")
			p.hear("<response " + sasl + "></response>")
			p.succeed("")
			p.end()
		}, ""},
		{"an error for a signature", "SCRAM-SHA-1", func(p *peer) {
			p.scram("SCRAM-SHA-1", server.NewConversation())
			p.say("<success " + sasl + ">" + encode("e=other-error") + "</success>")
			p.end()
		}, Broken},
		{"a challenge for PLAIN", "PLAIN", func(p *peer) { p.hear("<auth .*"); p.say("<challenge " + sasl + "/>"); p.end() }, Broken},
		{"success with nothing", "PLAIN", func(p *peer) { p.hear("<auth .*"); p.succeed("="); p.end() }, ""},
		{"success of another namespace", "PLAIN", func(p *peer) { p.hear("<auth .*"); p.say("<success xmlns='urn:other'/>"); p.end() }, Broken},
		{"the password, repeated", "PLAIN", func(p *peer) {
			p.hear("<auth .*")
			p.say("<stream:error><conflict xmlns='" + nsStreamErrors + "'/><text xmlns='" + nsStreamErrors + "'>" + password + "</text></stream:error>")
			p.end()
		}, NotNow},
		{"the password, repeated by SASL", "PLAIN", func(p *peer) {
			p.hear("<auth .*")
			p.say("<failure " + sasl + "><aborted/><text>" + password + "</text></failure>")
			p.end()
		}, NotNow},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, func(p *peer) {
					p.encrypt()
					p.open(mechanisms(test.offer))
					test.script(p)
				})
				err := r.verify(password)
				r.done()
				checkReason(t, err, test.want)
			})
		})
	}
}

// TestFailures: which conditions blame the credentials, and which do not.
func TestFailures(t *testing.T) {
	refused := []string{"not-authorized", "account-disabled", "credentials-expired", "invalid-authzid", "malformed-request"}
	for _, condition := range append(refused, "temporary-auth-failure", "policy-violation", "encryption-required", "mechanism-too-weak", "aborted", "incorrect-encoding", "bad-protocol", "invalid-mechanism") {
		t.Run(condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, func(p *peer) {
					p.encrypt()
					p.open(mechanisms("PLAIN"))
					p.hear("<auth .*")
					p.say(failure(condition))
					p.end()
				})
				err := r.verify(password)
				r.done()
				want := fault.Unavailable
				if slices.Contains(refused, condition) {
					want = fault.Unauthenticated
				}
				if kindOf(err) != want {
					t.Errorf("Verify() = %v, want kind %d", err, want)
				}
			})
		})
	}
}

// TestBindingMismatch: Prosody calls a binding that does not match malformed,
// which is not the user's fault.
func TestBindingMismatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := scramServer(t, scram.SHA1, password, 4096)
		r := newRig(t, DirectTLS, func(p *peer) {
			p.encrypt()
			p.open(mechanisms("SCRAM-SHA-1"))
			p.scram("SCRAM-SHA-1", server.NewConversation())
			p.say(failure("malformed-request"))
			p.end()
		})
		err := r.verify(password)
		r.done()
		checkReason(t, err, NotNow)
	})
}

// TestNextMechanism: a mechanism that the server cannot do for this account
// makes room for the next, on the same connection.
func TestNextMechanism(t *testing.T) {
	for _, say := range []string{failure("invalid-mechanism"), "<failure " + sasl + "><not-authorized/><text xml:lang='en'>Incompatible SCRAM methods</text></failure>"} {
		synctest.Test(t, func(t *testing.T) {
			server := scramServer(t, scram.SHA1, password, 4096)
			r := newRig(t, DirectTLS, func(p *peer) {
				p.encrypt()
				p.open(mechanisms("SCRAM-SHA-512", "SCRAM-SHA-1", "PLAIN"))
				p.hear(`<auth .* mechanism="SCRAM-SHA-512">.*`)
				p.say(say)
				last, valid, _ := p.scram("SCRAM-SHA-1", server.NewConversation())
				p.verdict(last, valid)
			})
			err := r.verify(password)
			r.done()
			checkReason(t, err, "")
			if n := r.dials.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestPreparation: a password is prepared by SASLprep where that takes it, and
// goes as it is where not.
func TestPreparation(t *testing.T) {
	for typed, stored := range map[string]string{"ⅸ": "ix", "a\u00adb": "ab", "😀": "😀", "p,=q": "p,=q"} {
		synctest.Test(t, func(t *testing.T) {
			server := scramServer(t, scram.SHA256, stored, 4096)
			r := newRig(t, NoTLS, func(p *peer) {
				p.open(mechanisms("SCRAM-SHA-256"))
				last, valid, _ := p.scram("SCRAM-SHA-256", server.NewConversation())
				p.verdict(last, valid)
			})
			err := r.verify(typed)
			r.done()
			checkReason(t, err, "")
		})
	}
}

// FuzzServer: whatever a server without the password says, it is not believed,
// and SCRAM never blames the password for anything but a failure.
func FuzzServer(f *testing.F) {
	f.Add(header+features(mechanisms("SCRAM-SHA-1")), "<success "+sasl+"/>")
	f.Add(header+features(mechanisms("SCRAM-SHA-1")), "<challenge "+sasl+">"+encode("r=x,s=c2FsdA==,i=4096")+"</challenge><success "+sasl+">"+encode("v=AAAA")+"</success>")
	f.Add(header+features(mechanisms("SCRAM-SHA-1", "PLAIN")), "<challenge "+sasl+"/><challenge "+sasl+"/>")
	f.Add(header+features(mechanisms("SCRAM-SHA-512")), "<stream:error/>")
	f.Add(header+features(mechanisms("SCRAM-SHA-256")), failure("not-authorized"))
	f.Fuzz(func(t *testing.T, before, after string) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, NoTLS, func(p *peer) {
				p.hear(hello)
				heard := make(chan string, 1)
				go func() {
					var all strings.Builder
					buffer := make([]byte, 1<<12)
					for {
						n, err := p.conn.Read(buffer)
						all.Write(buffer[:n])
						if err != nil {
							break
						}
					}
					heard <- all.String()
				}()
				p.try(before)
				p.try(after)
				_ = p.conn.Close()
				if said := <-heard; strings.Contains(said, `mechanism="PLAIN"`) {
					t.Errorf("PLAIN without TLS: %s", said)
				}
			})
			err := r.verify(password)
			r.done()
			if err == nil {
				t.Error("believed")
			}
			if errors.Is(err, errRefused) || kindOf(err) == fault.Unauthenticated && !strings.Contains(before+after, "failure") {
				t.Errorf("blamed the password: %v", err)
			}
		})
	})
}
