// Package upload puts a file where the recipients of a message can fetch it: on the
// XMPP server's own upload service (XEP-0363: HTTP File Upload, version 1.1.0).
//
//  1. The service is asked for a place, on the stream, by who can (slots).
//  2. The two URLs that it gives are looked at (url.go): one is written to, and one is
//     sent to strangers.
//  3. The file is put there by HTTPS (§6), once: whoever sends the message may try again.
//
// It keeps nothing, and follows no redirect. The service is trusted with the file, and
// with nothing else: what it answers is not read beyond its status.
package upload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthorn/internal/fault"
	"posthorn/internal/message"
	"posthorn/internal/secret"
)

const (
	dialWait = 10 * time.Second // and as long for TLS
	// putWait bounds one upload. Places are good for five minutes (Prosody 0.12,
	// ejabberd 23.01).
	putWait = 5 * time.Minute
	// headerWait is what a service may take once it has the file.
	headerWait = time.Minute
	maxHeader  = 64 << 10 // bytes of the answer
)

// Options say whom to trust.
type Options struct {
	Roots   map[string]*x509.CertPool // by the senders' host; where there is none, the system's
	Metrics prometheus.Registerer
}

// A Slot is a place for one file. The package component documents it.
type Slot struct {
	Service  string
	Put, Get string
	Header   map[string][]secret.Value
}

// slots are where services are asked. The package component documents both methods.
type slots interface {
	UploadLimit(ctx context.Context, from message.JID) (int64, error)
	RequestSlot(ctx context.Context, from message.JID, f message.File) (Slot, error)
}

// An Uploader uploads files. Immutable after New.
type Uploader struct {
	slots   slots
	clients map[string]*http.Client // by the senders' host
	client  *http.Client            // of all others
	files   *prometheus.CounterVec
}

// New makes an Uploader that asks s.
func New(opts Options, s slots) *Uploader {
	u := &Uploader{slots: s, clients: make(map[string]*http.Client), client: newClient(nil)}
	for host, roots := range opts.Roots {
		u.clients[host] = newClient(roots)
	}
	u.files = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "posthorn_upload_files_total", Help: "Files for the upload service, by what came of them: uploaded, refused, failed.",
	}, []string{"outcome"})
	for _, outcome := range []string{"uploaded", "refused", "failed"} { // so that a rate over the first one is right
		u.files.WithLabelValues(outcome)
	}
	opts.Metrics.MustRegister(u.files)
	return u
}

// newClient makes a client that keeps no connection: files are rare.
func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialWait}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialWait,
			ResponseHeaderTimeout:  headerWait,
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      true,
			DisableCompression:     true,
		},
		// Where the file goes is the service's word, on the stream, and nobody else's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Limit gives how large a file of the sender's may be, in bytes. The error is a
// *fault.Error.
func (u *Uploader) Limit(ctx context.Context, from message.JID) (int64, error) {
	return u.slots.UploadLimit(ctx, from)
}

// Upload puts the file's content, of exactly its size, on the service, and gives the
// URL from which it is fetched. The error is a *fault.Error: those of a slot, or
// Unavailable or TooLarge.
func (u *Uploader) Upload(ctx context.Context, from message.JID, f message.File, content io.ReaderAt) (string, error) {
	link, err := u.upload(ctx, from, f, content)
	u.files.WithLabelValues(outcomeOf(err)).Inc()
	return link, err
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "uploaded"
	case fault.Of(err).Kind == fault.Unavailable:
		return "failed"
	}
	return "refused"
}

func (u *Uploader) upload(ctx context.Context, from message.JID, f message.File, content io.ReaderAt) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, putWait)
	defer cancel()
	slot, err := u.slots.RequestSlot(ctx, from, f)
	if err != nil {
		return "", err
	}
	target, link, err := slot.check()
	if err != nil {
		return "", err
	}
	client := u.clients[from.Domain()]
	if client == nil {
		client = u.client
	}
	response, err := client.Do(slot.request(ctx, target, f, content))
	if err != nil {
		return "", failed(target, err)
	}
	_ = response.Body.Close() // unread
	if err := refused(target, response.StatusCode, f.Size); err != nil {
		return "", err
	}
	return link, nil
}

// request is the PUT of a file (XEP-0363 §6).
func (s Slot) request(ctx context.Context, target *url.URL, f message.File, content io.ReaderAt) *http.Request {
	r := (&http.Request{
		Method: http.MethodPut, URL: target, Host: target.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(io.NewSectionReader(content, 0, f.Size)), ContentLength: f.Size,
		Header: http.Header{"Content-Type": {f.Type}, "User-Agent": {"posthorn"}}, // the type of the request for the slot
	}).WithContext(ctx)
	for name, values := range s.Header {
		for _, value := range values {
			r.Header.Add(name, value.Reveal())
		}
	}
	return r
}

// refused gives nil for a file that was taken. XEP-0363 §6 has 201 alone; services
// behind other web servers have been seen to answer the other two.
func refused(target *url.URL, status int, size int64) error {
	switch status {
	case http.StatusCreated, http.StatusOK, http.StatusNoContent:
		return nil
	case http.StatusRequestEntityTooLarge:
		return fault.New(fault.TooLarge, "the web server at %s refuses a file of %d bytes (413): where a proxy stands before the upload service, it has a limit of its own (nginx: client_max_body_size)", target.Host, size)
	}
	return fault.New(fault.Unavailable, "the web server at %s did not take the file: it answered %d", target.Host, status).MayPass()
}

// failed says why a file did not get to the service. The URL, in which there may be a
// secret, is not told.
func failed(target *url.URL, err error) error {
	err = unwrapURL(err)
	var timeout net.Error
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return fault.Wrap(err, fault.Unavailable, "the certificate of the upload service at %s cannot be trusted (%s): of a private CA, name its file as ca_file in auth.hosts", target.Host, oneLine(err))
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fault.Wrap(err, fault.Unavailable, "the upload service at %s did not take the file in time: try again", target.Host).MayPass()
	}
	return fault.Wrap(err, fault.Unavailable, "the upload service at %s cannot be reached (%s): posthorn needs to get there by its name, as clients do", target.Host, oneLine(err)).MayPass()
}

// unwrapURL takes off what would show the URL.
func unwrapURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// oneLine is an error's text in a detail.
func oneLine(err error) string {
	const limit = 150 // bytes
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
