package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
)

// answered says what the service refused, and gives the exit status.
func (s *submission) answered(v *verdict, stdout, stderr io.Writer) int {
	if s.verbose {
		fmt.Fprintln(stdout, visible(v.summary()))
	}
	if v.code/100 == 2 && v.code != http.StatusMultiStatus {
		return exitOK
	}
	for _, line := range v.failures() {
		fmt.Fprintln(stderr, "posthorn: send:", visible(line))
	}
	switch {
	case v.code/100 == 3:
		fmt.Fprintln(stderr, "hint: redirects are not followed: set url (POSTHORN_URL) to where posthorn is")
	case s.key == "" && (v.code == http.StatusGatewayTimeout || v.code/100 == 5 && v.reached()):
		fmt.Fprintln(stderr, onceHint)
	}
	if v.mayPass() {
		return exitTryLater
	}
	return exitFailed
}

// onceHint is for those who cannot know whether it was sent.
const onceHint = "hint: it may have been sent; with --key KEY it can be sent again and arrives once"

// mayPass reports whether trying again later may help.
func (v *verdict) mayPass() bool {
	switch v.code {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return v.code >= 500
}

// reached reports whether some of several recipients were.
func (v *verdict) reached() bool {
	for _, r := range v.read.Results {
		if r.Detail == "" {
			return true
		}
	}
	return false
}

// summary is the status, and what the service says of the message.
func (v *verdict) summary() string {
	if status, isText := v.read.Status.(string); isText {
		return fmt.Sprintf("%s: %s, id %s", v.line, status, v.read.ID)
	}
	return v.line
}

// failures has a line for each recipient who did not get it, or else one for all.
func (v *verdict) failures() (lines []string) {
	for _, r := range v.read.Results {
		if r.Detail != "" {
			lines = append(lines, r.To+": "+r.Detail)
		}
	}
	switch {
	case len(lines) > 0:
		return lines
	case v.location != "" && v.code/100 == 3:
		return []string{fmt.Sprintf("%s leads to %s", v.url, v.location)}
	case v.read.Detail != "":
		return []string{v.read.Detail}
	}
	return []string{fmt.Sprintf("%s answers %s", v.url, v.line)} // something before the service does
}

// unanswered says why there is no answer. What may pass by itself is tried later: a
// service that is stopped, a name that does not resolve, a network that is down.
func (s *submission) unanswered(err error, stderr io.Writer) int {
	status, hint := exitFailed, ""
	var dial *net.OpError
	switch {
	case errors.As(err, new(inputError)), errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, fs.ErrPermission):
	case errors.As(err, new(*tls.CertificateVerificationError)):
		hint = "hint: for a private CA, set ca_file in send.yaml"
	case errors.As(err, &dial) && dial.Op == "dial":
		status, hint = exitTryLater, "hint: is posthorn running there? url or POSTHORN_URL says where it is"
	default:
		status, err = exitTryLater, fmt.Errorf("no answer: %w", err)
		if s.key == "" {
			hint = onceHint
		}
	}
	fmt.Fprintln(stderr, "posthorn: send:", visible(err.Error()))
	if hint != "" {
		fmt.Fprintln(stderr, hint)
	}
	return status
}
