package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"

	"posthorn/internal/fault"
)

// maxReserved bounds the memory that a request gets for its mere word on its
// size, in bytes.
const maxReserved = 64 << 10

// maxBody is what the body may have, in bytes.
func (x *exchange) maxBody() int64 {
	if x.target.page == hookPage {
		return max(maxPayload, x.options.MaxBody)
	}
	return x.options.MaxBody
}

// checkSize refuses what is declared too large before its first byte is read.
func (x *exchange) checkSize() error {
	switch {
	case x.attaching && x.r.ContentLength > x.maxBody()+x.options.MaxAttachment:
		return x.fileTooLarge(x.options.MaxAttachment)
	case !x.attaching && x.r.ContentLength > x.maxBody():
		return x.tooLarge(nil)
	}
	return nil
}

// endAmbiguity lets the connection end with a request in chunks, behind which there
// may be more. It may have had a Content-Length as well, which net/http hides, and a
// proxy that went by that one has taken something else for the next request, which may
// be another client's (RFC 9112 §6.1).
func (x *exchange) endAmbiguity() {
	if len(x.r.TransferEncoding) > 0 && x.r.ProtoMajor == 1 {
		x.w.Header().Set("Connection", "close")
	}
}

// readBody reads the whole body. net/http asks a client that waits for
// `100 Continue` to go on at the first read (RFC 9110 §10.1.1).
func (x *exchange) readBody() ([]byte, error) {
	if x.r.ContentLength == 0 {
		return nil, nil
	}
	body, err := readAll(http.MaxBytesReader(x.w, x.r.Body, x.maxBody()), x.r.ContentLength)
	if err != nil {
		return nil, x.bodyFault(err)
	}
	return body, nil
}

// bodyFault says why a body could not be read.
func (x *exchange) bodyFault(err error) error {
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return x.tooLarge(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return tooSlow(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Wrap(err, fault.Malformed, "the body ended before its declared end")
	}
	return fault.Wrap(err, fault.Malformed, "the body could not be read")
}

// readAll reads a body of the declared size, -1 where none is declared.
func readAll(in io.Reader, size int64) ([]byte, error) {
	if 0 <= size && size <= maxReserved {
		body := make([]byte, size)
		_, err := io.ReadFull(in, body)
		return body, err
	}
	return io.ReadAll(in)
}

func tooSlow(err error) error {
	return fault.Wrap(err, fault.SlowRequest, "the body did not arrive in time")
}

func (x *exchange) tooLarge(err error) error {
	hint := ""
	if x.options.Uploads != nil && (x.target.page == messagePage || x.target.page == restPage) {
		hint = ": with ?attach=1 in the URL, text goes as a file"
	}
	return fault.Wrap(err, fault.TooLarge, "the body is larger than %d bytes%s", x.maxBody(), hint)
}
