package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	connectTimeout = 10 * time.Second
	// silenceTimeout is more than the service takes for an answer (writeTimeout).
	silenceTimeout = 75 * time.Second
	// uploadTimeout is that for a file, which the service first uploads itself.
	uploadTimeout = 8 * time.Minute
	// stallTimeout bounds each write: who does not read for so long will not.
	stallTimeout = 30 * time.Second
	// restTimeout is for the rest of an answer that has begun.
	restTimeout = 10 * time.Second
	// maxAnswer has room for a line about each of as many recipients as the service
	// takes.
	maxAnswer = 1 << 20 // bytes
)

// A verdict is the service's answer.
type verdict struct {
	code     int
	line     string // such as 201 Created
	url      string
	location string
	read     struct {
		ID      string `json:"id"`
		Status  any    `json:"status"` // a problem's is a number (RFC 9457 §3.1.2)
		Detail  string `json:"detail"`
		Results []struct {
			To     string `json:"to"`
			Status string `json:"status"`
			Detail string `json:"detail"`
		} `json:"results"`
	}
}

// An inputError is why there was nothing to send.
type inputError struct{ error }

// post sends the request, and says on a terminal what it waits for.
func (s *submission) post(ctx context.Context, c *sendConfig, stderr io.Writer) (*verdict, error) {
	body, contentType, err := s.open()
	if err != nil {
		return nil, inputError{err}
	}
	watched := &progress{out: stderr, body: body}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target(c), watched)
	if err != nil {
		return nil, err
	}
	s.setHeader(request, c, body, contentType)
	if isTerminal(stderr) {
		defer start(watched.run)()
	}
	patience := silenceTimeout
	if s.attach != "" {
		patience = uploadTimeout
	}
	dial := (&net.Dialer{Timeout: connectTimeout}).DialContext
	return ask(c.client(dial, patience), request)
}

// ask gives the answer to a request, be it the service's or that of something before
// it.
func ask(client *http.Client, request *http.Request) (*verdict, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	defer cancel(nil)
	response, err := client.Do(request.WithContext(ctx))
	if err != nil {
		return nil, errors.Unwrap(err) // it is a *url.Error, with the subject in its URL
	}
	defer response.Body.Close()
	defer time.AfterFunc(restTimeout, func() { cancel(errors.New("the answer did not end in time")) }).Stop()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	asked := *request.URL
	asked.RawQuery = "" // in which the subject stands
	v := &verdict{code: response.StatusCode, line: response.Status, url: asked.String(), location: response.Header.Get("Location")}
	_ = json.Unmarshal(text, &v.read) // an answer without a detail has its line
	return v, nil
}

// target is the URL: the recipients in its path, and the fields in its query save
// those that a form has.
func (s *submission) target(c *sendConfig) string {
	path := c.base + "/msg/"
	if s.hook != "" {
		path = c.base + "/hook/" + url.PathEscape(s.hook) + "/"
	}
	to := make([]string, len(s.to))
	for i, recipient := range s.to {
		to[i] = url.PathEscape(recipient)
	}
	query := url.Values{}
	for name, value := range s.fields() {
		query.Set(name, value)
	}
	path += strings.Join(to, ",")
	if s.isForm() || len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// fields are those of the message beside recipients and text.
func (s *submission) fields() map[string]string {
	fields := map[string]string{}
	for name, value := range map[string]string{"subject": s.subject, "type": s.kind, "nick": s.nick} {
		if value != "" {
			fields[name] = value
		}
	}
	if s.kind == "message" { // as sendxmpp calls it
		fields["type"] = "normal"
	}
	if s.attach == "-" {
		fields["attach"] = "1" // the service makes a file of what is too large
	}
	return fields
}

func (s *submission) setHeader(request *http.Request, c *sendConfig, body input, contentType string) {
	request.ContentLength = body.size
	if body.size == 0 {
		request.Body = http.NoBody // else its length counts as unknown
	}
	request.Header.Set("Content-Type", contentType)
	if s.key != "" {
		request.Header.Set("Idempotency-Key", s.key)
	}
	if body.size < 0 || body.size > aheadBytes {
		// A refusal has to come before so much is sent in vain, and may be lost
		// when the connection ends under it (RFC 9110 §10.1.1).
		request.Header.Set("Expect", "100-continue")
	}
	if c.Token.Empty() {
		request.SetBasicAuth(c.JID, c.Password.Reveal())
	} else {
		request.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	}
}

// A dialer opens a connection, as net.Dialer does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// client makes what sends one request, once, and follows no redirect: the password
// is for nobody else.
func (c *sendConfig) client(dial dialer, patience time.Duration) *http.Client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.socket != "" {
				network, address = "unix", c.socket
			}
			conn, err := dial(ctx, network, address)
			return impatient{conn}, err
		},
		TLSClientConfig:       &tls.Config{RootCAs: c.cas, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: patience,
		ExpectContinueTimeout: time.Second,
		DisableKeepAlives:     true,
		DisableCompression:    true,
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// impatient is a connection with a deadline for each write.
type impatient struct{ net.Conn }

func (c impatient) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(stallTimeout)) // it fails where Write does
	return c.Conn.Write(p)
}
