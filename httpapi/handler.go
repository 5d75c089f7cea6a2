package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/quota"
	"posthorn/internal/render"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

// Options are what the handler is to know. Domains, JIDs and origins are
// compared as they stand here, so they come in the form in which addresses and
// browsers have them: in lower case, checked, and nothing behind an origin's
// port.
type Options struct {
	Path            string   // of the messages, such as /msg; "" or "/": every path that is nothing else
	MaxBody         int64    // bytes of a request's body; more is 413
	Hosts           []string // the domains whose users may send
	ComponentDomain string   // our own, to which nothing may be sent
	CORSOrigins     []string // origins whose pages may send, such as https://status.example.com
	RecipientsLocal bool     // send to Hosts and their subdomains only
	Senders         []string // JIDs and domains that may send; empty: all
	Version         string
	Hooks           *render.Set // the templates of webhooks

	TrustedProxies    []netip.Prefix // whose word on the client's address counts
	TrustUnix         bool           // so does that of who connects by a Unix socket
	MessagesPerSecond int            // of one sender; 0: any number
	Burst             int            // as many at once

	Uploads       uploader // takes files; nil: none are sent
	MaxAttachment int64    // bytes of one
	SpoolDir      string   // for those that are under way

	Stream func() string // "up", "down" or "refused"
	Store  func() string // "ok", "off" or "failing"
	Role   func() string // "holder" or "standby", where several posthorns share the store; else nil
	Ready  func() bool   // whether a message could be sent or kept now
	// Counted is told how many messages of a request were sent or kept, and how many not,
	// where several posthorns share the store; else nil. It must not block.
	Counted func(sent, failed int)

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// A verifier proves that a password or a token is the user's. It gives the bare
// JID of the account, or the token, or a *fault.Error. The client's address is not
// valid where it has none.
type verifier interface {
	Verify(ctx context.Context, user string, password secret.Value, client netip.Addr) (message.JID, error)
	VerifyToken(ctx context.Context, user string, text secret.Value, client netip.Addr) (*token.Token, error)
}

// A deliverer delivers the messages of one request and says what became of each,
// in their order, or gives a *fault.Error for them all. Find gives what it knows
// of those that a sender sent with one id, Overview what is kept, with so many of the
// sender's newest. It is called concurrently, and messages do not change any more.
type deliverer interface {
	Deliver(ctx context.Context, r message.Request) ([]message.Outcome, error)
	Find(ctx context.Context, sender message.JID, id string) ([]message.Record, error)
	Overview(ctx context.Context, sender message.JID, newest int) message.Overview
}

// A Handler answers posthorn's requests. Immutable after New, save for what is
// counted.
type Handler struct {
	options    Options
	verifier   verifier
	deliverer  deliverer
	tokens     tokenKeeper     // nil: there are none
	base       string          // Path, without a slash at its end
	origins    map[string]bool // CORSOrigins
	foreign    *http.CrossOriginProtection
	rates      *quota.Table[message.JID] // nil: any number of messages
	tokenRates *quota.Table[string]      // by the tokens' hashes
	unlisted   sync.Once                 // an unlisted proxy is warned of
	openapi    *asset                    // openapi.yaml
	docs       func() *asset             // the page of that
	berths     *berths                   // for files
	files      map[string]*asset         // of the page; "": the page itself
	memory     *memory
	metrics    *metrics
}

// New makes a Handler. It registers metrics and does no I/O. Where t is nil, there
// are no tokens.
func New(options Options, v verifier, d deliverer, t tokenKeeper) *Handler {
	h := &Handler{
		options:    options,
		verifier:   v,
		deliverer:  d,
		tokens:     t,
		base:       strings.TrimRight("/"+strings.Trim(options.Path, "/"), "/"),
		origins:    map[string]bool{},
		foreign:    http.NewCrossOriginProtection(),
		rates:      newRates(options),
		tokenRates: newTokenRates(),
		berths:     newBerths(),
		metrics:    newMetrics(options.Metrics),
		memory:     newMemory(),
	}
	h.openapi, h.docs = newDocs(h.base)
	h.files = newAssets(h.base)
	for _, origin := range options.CORSOrigins {
		h.origins[strings.ToLower(origin)] = true
	}
	return h
}

// An exchange is one request and its answer.
type exchange struct {
	*Handler
	w http.ResponseWriter
	r *http.Request

	target target // where its path leads

	attaching bool         // it may have a file beside its message
	token     *token.Token // by which its sender is known; nil: by password
	bearer    bool         // that stood alone

	// What the log says of it.
	from   message.JID
	to     []message.JID
	id     string // the stanza's, or that of a mistake of ours
	status int
	err    error

	mistake bool // id is that of a mistake of ours
}

// ServeHTTP answers every request, and never by a redirect.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{Handler: h, w: w, r: r}
	x.commonHeaders()
	if err := x.serve(); err != nil {
		x.fail(fault.Of(err), nil)
	}
	took := time.Since(start)
	h.metrics.observe(x.status, took)
	x.record(took)
}

// Never written to: net/http copies a header's values.
var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
)

func (x *exchange) commonHeaders() {
	header := x.w.Header()
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	x.allowOrigin()
}

// serve finds who answers the path, and checks the method for them all.
func (x *exchange) serve() error {
	if x.r.Method == http.MethodOptions && x.r.URL.Path == "*" {
		x.tellOptions(messagePage) // RFC 9110 §9.3.7: what the server can do at all
		return nil
	}
	target, err := x.route(x.r.Method, escapedPath(x.r.URL))
	if err != nil {
		return err
	}
	x.target = target
	allow := target.page.allow()
	switch {
	case x.r.Method == http.MethodOptions:
		x.tellOptions(target.page)
		return nil
	case !listed(allow, x.r.Method):
		x.w.Header().Set("Allow", allow)
		return fault.New(fault.MethodNotAllowed, "this path takes %s, not %s", allow, shorten(x.r.Method))
	}
	switch target.page {
	case healthPage:
		return x.health(http.StatusOK)
	case readyPage:
		return x.ready()
	case openAPIPage:
		x.replyAsset(x.openapi)
		return nil
	case docsPage:
		x.replyAsset(x.docs())
		return nil
	case lookupPage:
		return x.lookup(target)
	case tokensPage, tokenPage:
		return x.manageTokens(target)
	case statusPage:
		return x.tellStatus()
	case homePage, filePage:
		x.replyAsset(x.files[target.id])
		return nil
	}
	return x.send(target)
}

// listed reports whether a header's comma-separated list has the item.
func listed(list, item string) bool {
	for candidate := range strings.SplitSeq(list, ", ") {
		if candidate == item {
			return true
		}
	}
	return false
}

// record logs the request: who, to whom and how it ended, never what. That
// posthorn is not ready is for the stream to say, once, and not for every one
// of its health checks.
func (x *exchange) record(took time.Duration) {
	level := slog.LevelDebug
	if x.status >= 500 && !x.target.page.tells() {
		level = slog.LevelWarn
	}
	if !x.options.Log.Enabled(x.r.Context(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("addr", addressInLog(x.client())), slog.Duration("took", took)}
	if x.from != "" {
		attrs = append(attrs, slog.String("jid", string(x.from)))
	}
	if len(x.to) > 0 {
		attrs = append(attrs, slog.Any("to", x.to))
	}
	if x.id != "" {
		attrs = append(attrs, slog.String("id", x.id))
	}
	if x.err != nil {
		attrs = append(attrs, slog.Any("err", x.err))
	}
	x.options.Log.LogAttrs(x.r.Context(), level, "answered "+statusLabel(x.status), attrs...)
}
