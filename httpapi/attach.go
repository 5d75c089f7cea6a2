package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"html"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

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

// What a message says of a text that goes as a file: its first lines.
const (
	excerptLines = 5
	excerptSize  = 500 // bytes
)

// escapeCodes are what colours the text of a terminal (ECMA-48 §5.4).
var escapeCodes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]")

// excerpt gives the beginning of a text. What a message cannot carry is left out of it:
// a log may have colours, and the file has it all.
func (c charset) excerpt(head []byte) string {
	decoded := io.Reader(bytes.NewReader(head))
	if c.encoded != nil {
		decoded = c.encoded.NewDecoder().Reader(decoded)
	}
	start := make([]byte, 4*excerptSize)
	n, _ := io.ReadFull(decoded, start)
	text := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r == '\ufeff' || unicode.IsControl(r) && r != '\n' && r != '\t' || message.CheckText(string(r)) != nil {
			return -1
		}
		return r
	}, message.UnixLines(escapeCodes.ReplaceAllString(string(start[:n]), "")))
	lines := strings.SplitN(strings.TrimLeft(text, "\n"), "\n", excerptLines+1)
	text = strings.Join(lines[:min(len(lines), excerptLines)], "\n")
	if len(text) > excerptSize {
		end := excerptSize
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	if text = strings.TrimRight(text, " \t\n"); text == "" {
		return ""
	}
	return text + "\n…"
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
