package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"posthorn/internal/fault"
	"posthorn/internal/secret"
)

// A weather is what becomes of a connection to the server.
type weather struct {
	dial func(context.Context) error // nil: it succeeds
	peer func(*peer)
}

func fine(right string) weather { return weather{peer: plainServer(always(right), 0)} }

func dialError(err error) weather {
	return weather{dial: func(context.Context) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }}
}

func says(text string) weather {
	return weather{peer: func(p *peer) {
		p.encrypt()
		p.hear(hello)
		p.say(header + text)
		_, _ = io.Copy(io.Discard, p.conn)
	}}
}

var (
	refused = dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	frozen  = weather{peer: func(p *peer) { _, _ = io.Copy(io.Discard, p.conn) }}
	dropped = weather{dial: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	banned  = says("<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
)

// An outdoors is a rig whose server meets the weather. Its verdicts are good
// for a minute, and stale for an hour.
type outdoors struct {
	*rig
	weather weather
	keeping bool
}

func newOutdoors(t *testing.T, change ...func(*Options)) *outdoors {
	w := &outdoors{keeping: true}
	w.rig = newRig(t, DirectTLS, func(p *peer) { w.weather.peer(p) }, append([]func(*Options){func(o *Options) {
		o.StaleTTL = time.Hour
		o.Keeping = func() bool { return w.keeping }
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if w.weather.dial != nil {
				w.dials.Add(1)
				return nil, w.weather.dial(ctx)
			}
			return dial(ctx, network, address)
		}
	}}, change...)...)
	return w
}

// try is one question in a weather, and the number of dials that it took; want
// is empty for a password that counts.
func (w *outdoors) try(what string, now weather, given string, want fault.Kind, dials int32) {
	w.t.Helper()
	w.weather = now
	before := w.dials.Load()
	if err := w.verify(given); kindOf(err) != want || w.dials.Load()-before != dials {
		w.t.Errorf("%s: Verify() = %v after %d dials; want kind %d after %d", what, err, w.dials.Load()-before, want, dials)
	}
	w.peers.Wait()
}

func (w *outdoors) revived(want float64) {
	w.t.Helper()
	if got := testutil.ToFloat64(w.metrics.cache.WithLabelValues("stale")); got != want {
		w.t.Errorf("%v stale verdicts counted, want %v", got, want)
	}
}

const (
	ok          = fault.Internal // kindOf(nil)
	wrong       = fault.Unauthenticated
	unavailable = fault.Unavailable
)

// TestSilenceRevives: which ends of a probe let a password count that was right
// ten minutes ago. An answer never does, and neither does our own trouble.
func TestSilenceRevives(t *testing.T) {
	for _, test := range []struct {
		name string
		now  weather
		want fault.Kind
	}{
		{"the port is refused", refused, ok},
		{"no route", dialError(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), ok},
		{"no network", dialError(os.NewSyscallError("connect", syscall.ENETUNREACH)), ok},
		{"no such name", dialError(&net.DNSError{Err: "no such host", Name: "xmpp.example.com", IsNotFound: true}), ok},
		{"DNS is silent", dialError(&net.DNSError{Err: "i/o timeout", Name: "xmpp.example.com", IsTimeout: true}), ok},
		{"the port drops everything", dropped, ok},
		{"the system gives up", dialError(os.NewSyscallError("connect", syscall.ETIMEDOUT)), ok},
		{"the server is frozen", frozen, ok},
		{"the server freezes after its features", says(features(mechanisms("PLAIN"))), ok},
		{"policy-violation", banned, unavailable},
		{"host-unknown", says("<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"), unavailable},
		{"a temporary failure", weather{peer: func(p *peer) {
			p.encrypt()
			p.open(mechanisms("PLAIN"))
			p.hear(`<auth .*`)
			p.say(failure("temporary-auth-failure"))
			p.end()
		}}, unavailable},
		{"no mechanism", says(features("")), unavailable},
		{"another certificate", weather{peer: func(p *peer) {
			_, p.config, _ = makeCertificates(domain)
			p.encrypt()
		}}, unavailable},
		{"no TLS", weather{peer: func(p *peer) { p.hear("(?s).*"); p.say(header) }}, unavailable},
		{"the connection is cut", weather{peer: func(p *peer) { p.encrypt() }}, unavailable},
		{"too many open files", dialError(os.NewSyscallError("socket", syscall.EMFILE)), unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOutdoors(t)
				w.try("before", fine(password), password, ok, 1)
				time.Sleep(10 * time.Minute)
				w.try("outage", test.now, password, test.want, 1)
				w.try("another password", test.now, "other", unavailable, 1)
				w.done()
				w.revived(map[fault.Kind]float64{ok: 1}[test.want])
			})
		})
	}
}

// TestNoServiceIsAnAnswer: DNS says that there are no clients any more.
func TestNoServiceIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := dns{}
		w := newOutdoors(t, func(o *Options) { o.Hosts[0].Address, o.Resolver = "", records })
		w.try("before", fine(password), password, ok, 1)
		time.Sleep(10 * time.Minute)
		records["xmpps-client"] = []*net.SRV{{Target: "."}}
		w.try("after", fine(password), password, unavailable, 0)
		w.done()
	})
}

// TestStale: how long a password counts without its server, and what ends it.
func TestStale(t *testing.T) {
	for name, story := range map[string]func(*outdoors){
		"until its time is over, which reviving does not renew": func(w *outdoors) {
			w.try("before", fine(password), password, ok, 1)
			time.Sleep(time.Hour - time.Second)
			w.try("just in time", refused, password, ok, 1)
			time.Sleep(time.Second)
			w.try("too late", refused, password, unavailable, 1)
			w.revived(1)
		},
		"only while messages are kept": func(w *outdoors) {
			w.try("before", fine(password), password, ok, 1)
			time.Sleep(10 * time.Minute)
			w.keeping = false
			w.try("the stream is up", refused, password, unavailable, 1)
			w.keeping = true
			w.try("the stream is down", refused, password, ok, 0)
			w.keeping = false
			w.try("the stream is up again", refused, password, unavailable, 1)
		},
		"not after it was refused": func(w *outdoors) {
			w.try("before", fine(password), password, ok, 1)
			time.Sleep(10 * time.Minute)
			w.try("changed", fine("new"), password, wrong, 1)
			w.try("down at once", refused, password, wrong, 0) // the refusal is remembered
			time.Sleep(refusalTTL)
			w.try("down", refused, password, unavailable, 1)
			w.try("down still", refused, password, unavailable, 1)
		},
		"not after a newer one was right": func(w *outdoors) {
			w.try("before", fine(password), password, ok, 1)
			w.try("changed", fine("new"), "new", ok, 1)
			time.Sleep(10 * time.Minute)
			w.try("old", refused, password, unavailable, 1)
			w.try("new", refused, "new", ok, 0)
		},
		"though another one was refused": func(w *outdoors) {
			w.try("before", fine(password), password, ok, 1)
			time.Sleep(10 * time.Minute)
			w.try("a mistake", fine(password), "other", wrong, 1)
			w.try("down", refused, password, ok, 1)
		},
		"not one that was never checked": func(w *outdoors) {
			w.try("down", refused, password, unavailable, 1)
			w.try("down still", refused, password, unavailable, 1)
		},
		"not while the server answers": func(w *outdoors) {
			w.try("before", fine(password), password, ok, 1)
			time.Sleep(10 * time.Minute)
			w.try("down", refused, password, ok, 1)
			w.try("back, and angry with another", banned, "other", unavailable, 1)
			w.try("angry", banned, password, unavailable, 1)
			w.try("down again", refused, password, ok, 1)
			time.Sleep(silenceTTL)
			w.try("back", fine(password), password, ok, 1)
			w.try("remembered", refused, password, ok, 0)
			w.revived(2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOutdoors(t)
				story(w)
				w.done()
			})
		})
	}
}

// TestStaleTTL: it is a promise of its own, beside the life of the cache.
func TestStaleTTL(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Options)
		want   fault.Kind
	}{
		"without a cache":    {func(o *Options) { o.CacheTTL = 0 }, ok},
		"without stale life": {func(o *Options) { o.StaleTTL = 0 }, unavailable},
		"without room":       {func(o *Options) { o.CacheSize = 0 }, unavailable},
		"without a store":    {func(o *Options) { o.Keeping = nil }, unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOutdoors(t, test.change)
				w.try("before", fine(password), password, ok, 1)
				time.Sleep(time.Minute)
				w.try("up", fine(password), password, ok, 1)
				time.Sleep(time.Minute)
				w.try("down", refused, password, test.want, 1)
				w.done()
			})
		})
	}
}

// TestNothingStaleWithoutCache: a verdict that is kept only for an outage
// answers nothing while the server does, and a refusal ends it too.
func TestNothingStaleWithoutCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOutdoors(t, func(o *Options) { o.CacheTTL = 0 })
		w.try("first", fine(password), password, ok, 1)
		w.try("again", fine(password), password, ok, 1)
		w.try("changed", fine("new"), password, wrong, 1)
		w.try("down", refused, password, unavailable, 1)
		w.done()
	})
}

// TestSilenceIsRemembered: while a port drops everything, one waits for it each
// few seconds and the others do not; who is not let through asks all the same.
func TestSilenceIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOutdoors(t)
		took := func(what, given string, kind fault.Kind, dials int32, want time.Duration) {
			t.Helper()
			began := time.Now()
			if w.try(what, dropped, given, kind, dials); time.Since(began) != want {
				t.Errorf("%s took %v, want %v", what, time.Since(began), want)
			}
		}
		w.try("before", fine(password), password, ok, 1)
		time.Sleep(10 * time.Minute)
		took("first", password, ok, 1, probeTimeout)
		took("again", password, ok, 0, 0)
		time.Sleep(silenceTTL - time.Nanosecond)
		took("in time", password, ok, 0, 0)
		time.Sleep(time.Nanosecond)
		took("later", password, ok, 1, probeTimeout)
		took("unknown", "other", unavailable, 1, probeTimeout)
		w.done()
		w.revived(4)
	})
}

// TestWhoGoesRevivesNothing: neither a caller who has gone nor our own end is
// the server's silence.
func TestWhoGoesRevivesNothing(t *testing.T) {
	for name, end := range map[string]func(*outdoors, context.CancelFunc){
		"the caller": func(_ *outdoors, cancel context.CancelFunc) { cancel() },
		"the caller, of a silent server": func(w *outdoors, cancel context.CancelFunc) {
			w.weather = refused
			checkReason(t, w.verify("other"), Unreachable)
			cancel()
		},
		"Close": func(w *outdoors, _ context.CancelFunc) { w.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOutdoors(t)
				w.try("before", fine(password), password, ok, 1)
				time.Sleep(10 * time.Minute)
				w.weather = frozen
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var asked sync.WaitGroup
				asked.Go(func() {
					_, err := w.Verify(ctx, "me@example.com", secret.New(password), netip.Addr{})
					w.note(err)
					checkReason(t, err, Timeout)
				})
				synctest.Wait()
				end(w, cancel)
				asked.Wait()
				w.done()
				w.revived(0)
			})
		})
	}
}

// TestBusyRevivesNothing: a queue full of questions that the server answers
// slowly is not its silence, and a last moment at the head of it neither.
func TestBusyRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOutdoors(t)
		w.try("before", fine(password), password, ok, 1)
		time.Sleep(10 * time.Minute)
		w.weather = weather{peer: func(p *peer) {
			p.encrypt()
			p.open(mechanisms("PLAIN"))
			p.hear(`<auth .*`)
			time.Sleep(6 * time.Second)
			p.try(failure("not-authorized"))
			_, _ = io.Copy(io.Discard, p.conn)
		}}
		var others sync.WaitGroup
		for i := range 3 * maxProbes {
			others.Go(func() {
				_, err := w.Verify(t.Context(), fmt.Sprintf("user%d@example.com", i), secret.New("x"), netip.Addr{})
				if kind := kindOf(err); kind != wrong && kind != unavailable {
					t.Errorf("user%d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		checkReason(t, w.verify(password), Busy)
		others.Wait()
		w.done()
		w.revived(0)
		if !strings.Contains(w.log.String(), "timeout") {
			t.Error("no probe began too late")
		}
	})
}

// TestSilence: what a probe tells, by its end and the time that it had.
func TestSilence(t *testing.T) {
	down := &ProbeError{Unreachable, "", syscall.ECONNREFUSED}
	late := &ProbeError{Timeout, "", context.DeadlineExceeded}
	for _, test := range []struct {
		name          string
		err           error
		had           time.Duration
		before, after bool // whether the silence lasts
	}{
		{"refused", down, time.Second, false, true},
		{"no answer", late, probeTimeout, false, true},
		{"no answer to one who queued", late, probeTimeout / 2, false, true},
		{"no time for an answer", late, probeTimeout/2 - 1, false, false},
		{"no time to find that it is over", late, time.Second, true, true},
		{"our trouble", &ProbeError{Unreachable, "", errors.New("no file")}, probeTimeout, true, true},
		{"accepted", nil, probeTimeout, true, false},
		{"refused by the server", errRefused, probeTimeout, true, false},
		{"an answer", &ProbeError{NotNow, "", errors.New("policy-violation")}, probeTimeout, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var s silence
			if test.before {
				s.found = time.Now()
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.had)
			defer cancel()
			if s.note(ctx, time.Now(), test.err); s.lasts() != test.after {
				t.Errorf("%s: silence = %v, want %v", test.name, s.lasts(), test.after)
			}
			time.Sleep(silenceTTL)
			if s.lasts() {
				t.Errorf("%s: it lasts for ever", test.name)
			}
		})
	}
}
