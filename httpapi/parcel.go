package httpapi

import (
	"bytes"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"posthorn/internal/fault"
	"posthorn/internal/message"
)

// A parcel is what a request says, and the file that comes with it.
type parcel struct {
	fields fields
	file   *spooled // nil: none
	alone  bool     // there is no text beside the file
}

// readParcel reads the body of a request that may have a file. Where there is an error,
// there may be a file all the same.
func (x *exchange) readParcel(body io.Reader) (p parcel, err error) {
	if err := x.checkCoding(); err != nil {
		return p, err
	}
	contentType, _, err := single(x.r.Header, "Content-Type")
	if err != nil {
		return p, err
	}
	media, params := parseContentType(contentType)
	c, err := findCharset(params["charset"])
	if err != nil {
		return p, err
	}
	if media == "multipart/form-data" {
		err = x.readParts(&p, body, params["boundary"], c)
	} else {
		err = x.readRaw(&p, body, contentType, c)
	}
	if err == nil || errors.As(err, new(*fault.Error)) {
		return p, err
	}
	return p, x.bodyFault(err)
}

// readAhead is what a reader of parts may have taken from the body before it gives any
// of it, in bytes.
const readAhead = 8 << 10

// readParts reads multipart/form-data (RFC 7578): a part with a filename is the file,
// whatever its name (§4.2), and the other parts are fields, in memory as ever.
func (x *exchange) readParts(p *parcel, body io.Reader, boundary string, c charset) error {
	m := &meter{in: body, left: x.maxBody() + readAhead, over: x.tooLarge(nil)}
	return eachPart(m, boundary, func(part *multipart.Part) (err error) {
		if part.FileName() == "" {
			return p.fields.addPart(part, c)
		}
		if p.file != nil {
			return fault.New(fault.Unsendable, "the form has more than one file: send them one by one")
		}
		fields := m.left
		m.left = math.MaxInt64 // the file has a limit of its own
		p.file, err = x.spool(part, newFile(part.FileName(), part.Header.Get("Content-Type")))
		m.left = fields
		return err
	})
}

// A meter lets so many bytes through.
type meter struct {
	in   io.Reader
	left int64
	over error // for who wants more
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, m.over
	}
	n, err := m.in.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// readRaw reads any other body, with ?attach=1: what is no message by its type, or too
// large for one, is a file. A large form of fields or JSON is neither.
func (x *exchange) readRaw(p *parcel, body io.Reader, contentType string, c charset) (err error) {
	limit := x.maxBody()
	head, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return err
	}
	media, _ := parseContentType(contentType)
	if contentType == "" {
		media = sniff(head)
	}
	small := int64(len(head)) <= limit
	whole := io.MultiReader(bytes.NewReader(head), body)
	name, err := x.asked("filename")
	switch {
	case err != nil:
		return err
	case !isRead(media):
		p.fields.text = true
		p.file, err = x.spool(whole, x.newFile(name, media))
		return err
	case small:
		p.fields, err = decodeBody(contentType, head)
		return err
	case media == "application/json" || media == "application/x-www-form-urlencoded" && isForm(head, c):
		return fault.New(fault.TooLarge, "the body is larger than %d bytes, and fields do not go as a file: send the file by multipart/form-data, or as text/plain with the recipient in the path", limit)
	}
	p.fields = textFields(c.excerpt(head))
	if name == "" {
		name = "message.txt"
	}
	p.file, err = x.spool(whole, x.newFile(name, "text/plain"))
	return err
}

// newFile is that of a body which is the file itself.
func (x *exchange) newFile(name, media string) message.File {
	f := newFile(name, media)
	f.Size = x.r.ContentLength
	return f
}

// sniff finds the type of a body whose client has named none: text, or what it is else.
func sniff(head []byte) string {
	media, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if strings.HasPrefix(media, "text/") {
		return "text/plain"
	}
	return media
}

// isRead reports whether bodies of that type are messages.
func isRead(media string) bool {
	switch media {
	case "", "text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/form-data":
		return true
	}
	return false
}

// isForm reports whether what a body says to be a form is one, by its beginning: curl
// says so of every text.
func isForm(head []byte, c charset) bool {
	if _, found, err := readPairs(string(head), c); err != nil || found {
		return true
	}
	if cut := bytes.LastIndexByte(head[len(head)-2:], '%'); cut >= 0 { // an escape that was cut
		head = head[:len(head)-2+cut]
	}
	_, escaped := unescapeWhole(head)
	return escaped
}

// newFile describes a file by its client's words.
func newFile(name, contentType string) message.File {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(media, "/") || len(media) > maxMedia {
		media = "application/octet-stream"
	}
	f := message.File{Name: message.FileName(name), Type: media}
	if f.Name == "" {
		f.Name = "file" + extensionOf(media)
	}
	return f
}

// maxMedia is what a media type has at most (RFC 6838 §4.2), in bytes.
const maxMedia = 127 + 1 + 127

// extensions are those by which people and clients know the usual types. Never written
// to.
var extensions = map[string]string{
	"application/gzip": ".gz", "application/json": ".json", "application/pdf": ".pdf", "application/xml": ".xml", "application/zip": ".zip",
	"audio/mpeg": ".mp3", "audio/ogg": ".ogg", "audio/wav": ".wav",
	"image/gif": ".gif", "image/jpeg": ".jpg", "image/png": ".png", "image/svg+xml": ".svg", "image/webp": ".webp",
	"text/csv": ".csv", "text/html": ".html", "text/markdown": ".md", "text/plain": ".txt", "text/xml": ".xml",
	"video/mp4": ".mp4", "video/webm": ".webm",
}

// extensionOf gives the extension of a type, of one that is not known that of bytes.
func extensionOf(media string) string {
	if extension, known := extensions[media]; known {
		return extension
	}
	return ".bin"
}
