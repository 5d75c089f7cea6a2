package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/render"
	"posthorn/internal/secret"
	"posthorn/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The accounts that the fakes know, and a password that may stand nowhere.
const (
	me       = "me@example.com"
	password = "Pa55:wörd-hunter2"
)

// The built-in templates, which tests share.
var (
	builtIns = render.New("")
	loadOnce sync.Once
)

// fakeVerifier knows one account, by its JID in several forms.
type fakeVerifier struct {
	err    error
	client netip.Addr // that was asked for last
	tokens *fakeTokens
}

// VerifyToken knows the tokens that were made.
func (v *fakeVerifier) VerifyToken(_ context.Context, user string, text secret.Value, client netip.Addr) (*token.Token, error) {
	v.client = client
	for _, t := range v.tokens.kept {
		if t.Hash == token.Hash(text) && (user == "" || user == string(t.Owner)) {
			return &t, nil
		}
	}
	return nil, fault.New(fault.Unauthenticated, "unknown token")
}

// fakeTokens keeps tokens.
type fakeTokens struct {
	kept []token.Token
	err  error // of AddToken
}

func (f *fakeTokens) AddToken(_ context.Context, t token.Token) error {
	if f.err == nil {
		f.kept = append(f.kept, t)
	}
	return f.err
}

func (f *fakeTokens) Tokens(_ context.Context, owner message.JID) (owned []token.Token, err error) {
	for _, t := range f.kept {
		if t.Owner == owner {
			owned = append(owned, t)
		}
	}
	return owned, nil
}

func (f *fakeTokens) RevokeToken(_ context.Context, owner message.JID, name string) (bool, error) {
	if err := message.CheckText(name); err != nil {
		return false, err // as PostgreSQL does
	}
	before := len(f.kept)
	f.kept = slices.DeleteFunc(f.kept, func(t token.Token) bool { return t.Owner == owner && t.Name == name })
	return before > len(f.kept), nil
}

func (v *fakeVerifier) Verify(_ context.Context, user string, given secret.Value, client netip.Addr) (message.JID, error) {
	v.client = client
	if v.err != nil {
		return "", v.err
	}
	if !strings.Contains(user, "@") {
		user += "@example.com"
	}
	j, err := message.ParseAccount(user)
	if err != nil || j != me || given.Reveal() != password {
		return "", fault.New(fault.Unauthenticated, "unknown account or wrong password")
	}
	return j, nil
}

// fakeDeliverer keeps what it was given. What becomes of it is in outcomes, by
// recipient; delivered where there is none.
type fakeDeliverer struct {
	outcomes map[message.JID]any // a message.Status or an error
	records  []message.Record    // what can be found
	err      error               // of the whole request
	knows    bool                // every request is a repetition

	mu       sync.Mutex
	got      []message.Message
	requests []message.Request
}

func (d *fakeDeliverer) Deliver(ctx context.Context, r message.Request) (outcomes []message.Outcome, err error) {
	if r.Prepare != nil && !d.knows {
		if err := r.Prepare(ctx); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, r)
	for _, m := range r.Messages {
		d.got = append(d.got, *m)
		switch outcome := d.outcomes[m.To].(type) {
		case error:
			outcomes = append(outcomes, message.Outcome{Err: outcome})
		case message.Status:
			outcomes = append(outcomes, message.Outcome{Status: outcome})
		default:
			outcomes = append(outcomes, message.Outcome{Status: message.Delivered})
		}
	}
	return outcomes, d.err
}

func (d *fakeDeliverer) Find(_ context.Context, sender message.JID, id string) (found []message.Record, err error) {
	for _, r := range d.records {
		if r.From == sender && r.ID == id {
			found = append(found, r)
		}
	}
	return found, d.err
}

// Overview gives the records of the sender as they stand, which is the newest first.
func (d *fakeDeliverer) Overview(_ context.Context, sender message.JID, newest int) (o message.Overview) {
	for _, r := range d.records {
		o.Kept++
		if r.From == sender && o.Own < newest {
			o.Own++
			o.Newest = append(o.Newest, r)
		}
	}
	return o
}

// take gives the messages so far, in the order of their recipients.
func (d *fakeDeliverer) take() []message.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.got
	d.got = nil
	slices.SortFunc(got, func(a, b message.Message) int { return strings.Compare(string(a.To), string(b.To)) })
	return got
}

// fakeUploader keeps the files that it was given.
type fakeUploader struct {
	limit    int64                     // 0: none
	limitErr error                     // of Limit
	err      error                     // of Upload
	begun    func(ctx context.Context) // is called by Upload; may be nil
	look     func(content io.ReaderAt) // in place of reading the content; may be nil

	mu  sync.Mutex
	got []upload
}

// An upload is a file as it came.
type upload struct {
	message.File
	From    message.JID
	Content string
}

const link = "https://upload.example.com/1/x"

func (u *fakeUploader) Limit(context.Context, message.JID) (int64, error) {
	if u.limit == 0 {
		return math.MaxInt64, u.limitErr
	}
	return u.limit, u.limitErr
}

func (u *fakeUploader) Upload(ctx context.Context, from message.JID, f message.File, content io.ReaderAt) (string, error) {
	if u.begun != nil {
		u.begun(ctx)
	}
	if u.err != nil {
		return "", u.err
	}
	if u.look != nil {
		u.look(content)
		return link, nil
	}
	text, err := io.ReadAll(io.NewSectionReader(content, 0, f.Size+1)) // not a byte more
	if err != nil {
		return "", err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.got = append(u.got, upload{f, from, string(text)})
	return link, nil
}

func (u *fakeUploader) take() []upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// A house is a handler with its fakes around it.
type house struct {
	*Handler
	verifier  fakeVerifier
	deliverer *fakeDeliverer
	tokens    *fakeTokens
	uploader  *fakeUploader
	log       *bytes.Buffer
	registry  *prometheus.Registry
}

func newHouse(change func(*Options)) *house {
	loadOnce.Do(func() { _ = builtIns.Load() })
	tokens := &fakeTokens{}
	h := &house{verifier: fakeVerifier{tokens: tokens}, deliverer: &fakeDeliverer{}, tokens: tokens, uploader: &fakeUploader{}, log: &bytes.Buffer{}, registry: prometheus.NewRegistry()}
	options := Options{
		Path:            "/msg",
		MaxBody:         65536,
		Hosts:           []string{"example.com", "other.example"},
		ComponentDomain: "post.example.com",
		Version:         "1.2.3",
		Hooks:           builtIns,
		Uploads:         h.uploader,
		MaxAttachment:   1 << 20,
		Stream:          func() string { return "up" },
		Store:           func() string { return "ok" },
		Ready:           func() bool { return true },
		Log:             slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics:         h.registry,
	}
	if change != nil {
		change(&options)
	}
	h.Handler = New(options, &h.verifier, h.deliverer, h.tokens)
	return h
}

// basic makes the value of an Authorization header.
func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
