package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"posthorn/auth"
	"posthorn/component"
	"posthorn/httpapi"
	"posthorn/internal/delivery"
	"posthorn/internal/render"
	"posthorn/internal/store"
	"posthorn/internal/upload"
)

const (
	// maxHeader bounds a request's line and header, with room for the longest
	// path that deserves an answer of its own.
	maxHeader = 64 << 10 // bytes
	// Who sends a header or a body more slowly than this holds a connection
	// for nothing.
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// writeTimeout leaves time for a probe and a confirmation.
	writeTimeout = time.Minute
	// stopTimeout is what requests in flight may take when posthorn stops.
	stopTimeout = 20 * time.Second
)

// serve takes requests until ctx ends.
func serve(ctx context.Context, p *program) int {
	hideMemory()
	fitMachine()
	log := p.config.logger(p.stderr)
	if err := runService(ctx, &p.config, log); err != nil {
		fmt.Fprintln(p.stderr, "posthorn: serve:", err)
		return exitFailed
	}
	return exitOK
}

// gcPercent lets garbage grow to four times what is in use, some 4 MiB, before it
// is collected: with less, collecting takes a tenth of a busy posthorn's time.
const gcPercent = 400

// fitMachine sets how Go uses the machine, unless GOMAXPROCS or GOGC do. The XMPP
// server beside us is one thread: it has a processor of its own, since a message
// that is alone would wait longer for threads of ours to be woken on it than for
// anything else.
func fitMachine() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

func runService(ctx context.Context, c *config, log *slog.Logger) error {
	renewTemplates, renewCertificate := onHangup(), onHangup()
	defer signal.Stop(renewTemplates)
	defer signal.Stop(renewCertificate)
	registry := prometheus.NewRegistry()
	share := newSharing(c)
	keeper, err := openStore(ctx, c, share, log, registry)
	if err != nil {
		return err
	}
	stream, deliverer := c.deliverer(keeper, share, log, registry)
	share.join(keeper, stream, deliverer, log, registry)
	verifier, err := openVerifier(c, keeper, stream, share, log, registry)
	if err != nil {
		return err
	}
	defer verifier.Close()
	live, places := stream.Run, landlord(slots{stream})
	if share != nil {
		share.verifier = verifier
		live, places = share.run, share.errands
	}
	files, err := openCertificate(c, log)
	if err != nil {
		return err
	}
	measure(registry, files)
	hooks := openHooks(c.Hooks.Dir, log)
	uploads, err := c.uploads(places, registry)
	if err != nil {
		return err
	}
	servers, err := openServers(c, files, log, c.handler(stream, keeper, share, verifier, deliverer, hooks, uploads, log, registry), registry)
	if err != nil {
		return err
	}
	defer start(func(ctx context.Context) { heedHangups(ctx, renewTemplates, hooks, log) })()
	if files != nil {
		defer start(func(ctx context.Context) { files.keep(ctx, renewCertificate) })()
	}
	// Stopped in the opposite order: what is in flight has its outcome before the
	// stream ends, and that is written before the store does.
	if keeper != nil {
		defer start(keeper.Run)()
	}
	_ = deliverer.Open(ctx) // a store that fails is said in the log, and tried again
	defer start(live)()
	defer start(deliverer.Run)()
	return answerAll(ctx, servers, share.leave, stream.Alive, log)
}

// openVerifier makes what checks passwords and tokens.
func openVerifier(c *config, keeper *store.Store, stream *component.Component, share *sharing, log *slog.Logger, registry *prometheus.Registry) (*auth.Verifier, error) {
	options, err := c.auth(log, registry)
	if err != nil {
		return nil, err
	}
	options.Keeping = func() bool { return keeper != nil && stream.State() != component.Up }
	if keeper != nil {
		options.Tokens = keeper
	}
	share.authOptions(&options)
	return auth.New(options)
}

// onHangup gives a channel that tells of each SIGHUP; one that waits stands for all.
func onHangup() chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// openStore opens the store, nil where the configuration has none. One that fails
// may recover; one that another process has is a mistake.
func openStore(ctx context.Context, c *config, share *sharing, log *slog.Logger, registry *prometheus.Registry) (*store.Store, error) {
	if !c.keeps() {
		return nil, nil
	}
	options := c.store(log, registry)
	share.storeOptions(&options)
	s := store.New(options)
	if err := s.Open(ctx); errors.Is(err, store.ErrInUse) {
		return nil, err
	}
	return s, nil
}

// deliverer makes what decides about messages, and the stream that it gives them
// to.
func (c *config) deliverer(keeper *store.Store, share *sharing, log *slog.Logger, registry *prometheus.Registry) (*component.Component, *delivery.Delivery) {
	var d *delivery.Delivery
	options := c.component(log, registry)
	options.Changed = func() { d.StreamChanged() }
	if keeper != nil {
		options.Commands = c.commands(keeper, log)
	}
	share.componentOptions(&options)
	stream := component.New(options)
	deliveryOptions := c.delivery(stream, log, registry)
	share.deliveryOptions(&deliveryOptions)
	if keeper == nil {
		d = delivery.New(deliveryOptions, stream, nil)
	} else {
		d = delivery.New(deliveryOptions, stream, keeper)
	}
	return stream, d
}

// handler makes what answers requests.
func (c *config) handler(stream *component.Component, keeper *store.Store, share *sharing, verifier *auth.Verifier, d *delivery.Delivery, hooks *render.Set, uploads *upload.Uploader, log *slog.Logger, registry *prometheus.Registry) http.Handler {
	options := c.httpapi(stream, keeper, log, registry)
	options.Hooks = hooks
	share.httpOptions(&options)
	if uploads != nil {
		options.Uploads = uploads
	}
	if keeper == nil {
		return httpapi.New(options, verifier, d, nil)
	}
	h := httpapi.New(options, verifier, d, keeper)
	if share != nil {
		share.api = h
	}
	return h
}

// start gives run a goroutine, and a function that ends it and waits for that.
func start(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// openServers opens the listeners of the API and of the metrics.
func openServers(c *config, files *certificate, log *slog.Logger, api http.Handler, registry *prometheus.Registry) (servers []*server, err error) {
	defer func() {
		if err != nil {
			closeAll(servers)
		}
	}()
	listeners, err := apiListeners(c, files, log)
	if err != nil {
		return nil, err
	}
	for _, l := range listeners {
		servers = append(servers, newServer(l, api, log))
	}
	if c.Metrics.Listen == "" {
		return servers, nil
	}
	l, err := listen(c.Metrics.Listen)
	if err != nil {
		return servers, fmt.Errorf("metrics.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return append(servers, newServer(l, mux, log)), nil
}

// answerAll answers requests until ctx ends or a listener fails, then those that come before
// leave returns, and those that are in flight.
func answerAll(ctx context.Context, servers []*server, leave func(), alive func() bool, log *slog.Logger) error {
	serving, ctx := errgroup.WithContext(ctx)
	debug.FreeOSMemory() // starting has used some that is not needed any more
	for _, s := range servers {
		log.Info("listening", "addr", s.listener.Addr().String())
		serving.Go(s.serve)
	}
	serving.Go(func() error { return tellSystemd(ctx, alive, log) })
	serving.Go(func() error {
		<-ctx.Done()
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
		log.Info("stopping")
		leave()
		return stopAll(servers)
	})
	return serving.Wait()
}

// tellSystemd says that requests are taken and, where systemd has asked for it
// (sd_notify(3)), again and again that posthorn is alive, as long as it is. Neither
// waits for the XMPP server: posthorn answers without it, and a restart would not
// bring it back.
func tellSystemd(ctx context.Context, alive func() bool, log *slog.Logger) error {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !alive() {
				log.Error("the stream hangs: systemd is to end posthorn, with a list of what it does, and start it again")
				continue
			}
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		case <-ctx.Done():
			return nil
		}
	}
}

func closeAll(servers []*server) {
	for _, s := range servers {
		_ = s.listener.Close()
	}
}
