package httpapi

import (
	"net/http"
	"strings"

	"posthorn/internal/fault"
)

// accepted are the content types that decodeBody reads.
const accepted = "text/plain, application/json, application/x-www-form-urlencoded, multipart/form-data"

// tellOptions answers OPTIONS, and with it a browser's CORS preflight.
func (x *exchange) tellOptions(p page) {
	header := x.w.Header()
	header.Set("Allow", p.allow())
	if p.sends() {
		header.Set("Accept", accepted)
		header.Set("Accept-Post", accepted)
		if x.originAllowed() {
			header.Set("Access-Control-Allow-Methods", "POST, PUT")
			header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Subject, Title")
			header.Set("Access-Control-Max-Age", "7200") // what Chrome remembers at most
		}
	}
	x.status = http.StatusNoContent
	x.w.WriteHeader(x.status)
}

// allowOrigin lets pages of the configured origins read the answer. Cookies
// are not allowed along: credentials come in a header that the page sets.
func (x *exchange) allowOrigin() {
	if len(x.origins) == 0 {
		return
	}
	header := x.w.Header()
	header.Add("Vary", "Origin")
	if x.originAllowed() {
		header.Set("Access-Control-Allow-Origin", x.r.Header.Get("Origin"))
		header.Set("Access-Control-Expose-Headers", "Allow, Retry-After, WWW-Authenticate")
	}
}

func (x *exchange) originAllowed() bool {
	origin := x.r.Header.Get("Origin")
	return origin != "" && x.origins[strings.ToLower(origin)]
}

// checkOrigin refuses what a browser sends for a page of another origin: it
// would add the password that it remembers, whoever wrote the page. Programs
// that are no browsers say nothing of origins and pass.
func (x *exchange) checkOrigin() error {
	if x.originAllowed() {
		return nil
	}
	r := *x.r
	r.Method = http.MethodPost // a webhook's GET sends as well
	if err := x.foreign.Check(&r); err != nil {
		return fault.Wrap(err, fault.Forbidden, "a page of another origin may not send: http.cors_origins lists those that may")
	}
	return nil
}
