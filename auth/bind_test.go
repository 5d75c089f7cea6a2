package auth

import (
	"testing"
	"testing/synctest"

	"posthorn/internal/fault"
)

// TestBind: what the server says after the right password decides too. Nothing
// but the end of the stream follows.
func TestBind(t *testing.T) {
	result := func(jid string) string {
		return "<iq type='result' id='bind'><bind xmlns='" + nsBind + "'><jid>" + jid + "</jid></bind></iq>"
	}
	refused := func(condition string) string {
		return "<iq type='error' id='bind'><error type='cancel'><" + condition + " xmlns='" + nsStanzaErrors + "'/></error></iq>"
	}
	for _, test := range []struct {
		name   string
		answer string
		want   fault.Kind // Internal: accepted
		reason Reason     // where it is Unavailable
	}{
		{"a resource", bound, fault.Internal, ""},
		{"after a greeting", "<message/> <iq type='set' id='other'/>" + bound, fault.Internal, ""},
		{"the account in other letters", result("Me@EXAMPLE.com/r"), fault.Internal, ""},
		{"denied", refused("not-allowed"), fault.Unauthenticated, ""},
		{"too many sessions", refused("resource-constraint"), fault.Unavailable, NotNow},
		{"an error without a condition", "<iq type='error' id='bind'/>", fault.Unavailable, NotNow},
		{"an answer of no type", "<iq id='bind'/>", fault.Unavailable, NotNow},
		{"another account", result("you@example.com/r"), fault.Unavailable, Broken},
		{"another domain", result("me@example.org/r"), fault.Unavailable, Broken},
		{"no JID", "<iq type='result' id='bind'><bind xmlns='" + nsBind + "'/></iq>", fault.Unavailable, Broken},
		{"nothing bound", "<iq type='result' id='bind'/>", fault.Unavailable, Broken},
		{"another's answer", "<iq xmlns='urn:other' type='result' id='bind'/></stream:stream>", fault.Unavailable, Broken},
		{"a stream error", "<stream:error><policy-violation xmlns='" + nsStreamErrors + "'/></stream:error>", fault.Unavailable, NotNow},
		{"the end", "</stream:stream>", fault.Unavailable, Broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, DirectTLS, func(p *peer) {
					p.encrypt()
					p.open(mechanisms("PLAIN"))
					p.hear("<auth .*")
					p.say("<success " + sasl + "/>")
					p.open(canBind)
					p.hear(bind)
					p.say(test.answer)
					p.end()
				})
				err := r.verify(password)
				r.done()
				if test.reason != "" {
					checkReason(t, err, test.reason)
				} else if kindOf(err) != test.want {
					t.Errorf("Verify() = %v, want kind %d", err, test.want)
				}
			})
		})
	}
}
