package auth

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"posthorn/internal/secret"
)

// TestQueueTellsNothing: many wrong passwords for one account at once are
// answered at the same times, however long the server takes to refuse each: it
// refuses an account that does not exist sooner.
func TestQueueTellsNothing(t *testing.T) {
	var times [2][]time.Duration
	for i, each := range []time.Duration{time.Millisecond, 20 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, DirectTLS, plainServer(always(password), each))
			began := time.Now()
			var all sync.WaitGroup
			var mu sync.Mutex
			for n := range maxAccountWaiting {
				all.Go(func() {
					_, _ = r.Verify(t.Context(), "me@example.com", secret.New(fmt.Sprint("wrong", n)), netip.Addr{})
					mu.Lock()
					defer mu.Unlock()
					times[i] = append(times[i], time.Since(began))
				})
			}
			all.Wait()
			r.done()
		})
		slices.Sort(times[i])
	}
	if diff := cmp.Diff(times[0], times[1]); diff != "" {
		t.Error(diff)
	}
	if last := times[0][maxAccountWaiting-1]; last <= refusalStep {
		t.Errorf("the last was answered after %v: there was no queue to look at", last)
	}
}

// TestSilentHost: a host whose server says nothing takes no turns from others.
func TestSilentHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, DirectTLS, plainServer(always(password), 0), func(o *Options) {
			silent := o.Hosts[0]
			silent.Domain, silent.Address = "silent.example", "127.0.0.2"
			o.Hosts = append(o.Hosts, silent)
			dial := o.Dial
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if host, _, _ := net.SplitHostPort(address); host == "127.0.0.1" {
					return dial(ctx, network, address)
				}
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close()
					_, _ = io.Copy(io.Discard, theirs)
				}()
				return ours, nil
			}
		})
		var all sync.WaitGroup
		for n := range 2 * maxProbes {
			all.Go(func() {
				_, _ = r.Verify(t.Context(), fmt.Sprintf("user%d@silent.example", n), secret.New("x"), netip.Addr{})
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := r.verify(password); err != nil || time.Since(began) != 0 {
			t.Errorf("answered after %v: %v", time.Since(began), err)
		}
		all.Wait()
		r.done()
	})
}
