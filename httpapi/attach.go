package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// An uploader puts files where the recipients of a message can fetch them. Both methods
// give a *fault.Error. Upload may read the content for a moment after it has returned.
type uploader interface {
	// Limit gives how large a file of the sender's may be, in bytes, if one can be
	// uploaded now.
	Limit(ctx context.Context, from message.JID) (int64, error)
	// Upload gives the link.
	Upload(ctx context.Context, from message.JID, f message.File, content io.ReaderAt) (link string, err error)
}

// mayAttach reports whether a request may have a file beside its message, by its header
// alone: a form of parts, and what asks for it.
func (x *exchange) mayAttach() (bool, error) {
	if x.options.Uploads == nil || x.target.page != messagePage && x.target.page != restPage {
		return false, nil
	}
	if media, _ := parseContentType(x.r.Header.Get("Content-Type")); media == "multipart/form-data" {
		return true, nil
	}
	if !strings.Contains(x.r.URL.RawQuery, "attach") {
		return false, nil // as nearly all
	}
	return x.wants("attach")
}

// sendParcel is send for such a request. Who sends it is proven before its body is read,
// since that may be large; and all that can be wrong with the message is found before
// its file is uploaded.
func (x *exchange) sendParcel(t target, c credential) error {
	if err := x.identify(c); err != nil {
		return err
	}
	if err := x.mayWrite(t); err != nil {
		return err
	}
	body, err := x.parcelBody()
	if err != nil {
		return err
	}
	p, err := x.readParcel(body)
	if p.file != nil {
		defer p.file.close()
	}
	if err != nil {
		return err
	}
	if err := x.addAround(&p.fields, t); err != nil {
		return err
	}
	if err := p.holdPlace(); err != nil {
		return err
	}
	request, err := x.compose(t, p.fields)
	if err != nil {
		return err
	}
	p.enclose(x, &request)
	return x.deliver(request)
}

// parcelBody is the body to be read. One that has to be signed is read and checked as a
// whole, and may not be larger than others.
func (x *exchange) parcelBody() (io.Reader, error) {
	if x.token == nil || x.token.Signing.Empty() {
		return http.MaxBytesReader(x.w, x.r.Body, x.maxBody()+x.options.MaxAttachment+readAhead), nil
	}
	body, err := x.readBody()
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(body), x.checkSignature(body)
}

// holdPlace puts something in the place of the link, which is not known before all else
// is: the file's name.
func (p *parcel) holdPlace() error {
	if p.file == nil {
		return nil
	}
	if p.fields.has("oob") {
		return fault.New(fault.Unsendable, "oob: is given beside a file, which has a link of its own: leave one of them out")
	}
	p.fields.values = slices.DeleteFunc(p.fields.values, func(f field) bool { return f.value == "" && slices.Contains(bodyNames, f.name) })
	if _, given := p.fields.first(bodyNames...); !given {
		p.alone = true
		p.fields.set("body", p.file.Name)
	}
	return nil
}

// enclose has the file uploaded when the messages are about to be sent. A request is the
// same as another only if their files are.
func (p *parcel) enclose(x *exchange, r *message.Request) {
	if p.file == nil {
		return
	}
	if r.Scope != "" {
		sum := sha256.Sum256([]byte(r.Digest + "\x00" + p.file.Name + "\x00" + p.file.Type + "\x00" + string(p.file.sum[:])))
		r.Digest = hex.EncodeToString(sum[:])
	}
	messages := r.Messages
	r.Prepare = func(ctx context.Context) error {
		link, err := x.options.Uploads.Upload(ctx, x.from, p.file.File, p.file.content)
		if err != nil {
			return asFault(err)
		}
		for _, m := range messages {
			p.addLink(m, link)
		}
		return nil
	}
}

// addLink gives a message the link to its file (XEP-0066 §3). Clients show a picture in
// place of a link that is the whole text.
func (p *parcel) addLink(m *message.Message, link string) {
	m.OOB.URL = link
	if p.alone {
		m.Body = link
	} else {
		m.Body = strings.TrimRight(m.Body, "\n") + "\n" + link
	}
	if m.HTML != "" {
		href := html.EscapeString(link)
		m.HTML += `<br/><a href="` + href + `">` + href + `</a>`
	}
}
