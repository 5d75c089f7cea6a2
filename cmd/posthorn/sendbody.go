package main

import (
	"bytes"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// isForm reports whether a file goes with the text, and not as one.
func (s *submission) isForm() bool { return s.attach != "" && s.attach != "-" }

// An input is read once, while it is sent.
type input struct {
	io.Reader
	size int64 // bytes; -1: known at its end only
}

func inputOf(text []byte) input { return input{bytes.NewReader(text), int64(len(text))} }

// aheadBytes is what is read before the connection is made: all of a text that the
// service takes by default. It gives a request half a minute, and whoever writes
// into our standard input may need more.
const aheadBytes = 64 << 10

// inputFrom reads ahead.
func inputFrom(r io.Reader) (input, error) {
	ahead := make([]byte, aheadBytes)
	switch n, err := io.ReadFull(r, ahead); err {
	case io.EOF, io.ErrUnexpectedEOF:
		return inputOf(ahead[:n]), nil
	case nil:
		return input{io.MultiReader(bytes.NewReader(ahead), r), -1}, nil
	default:
		return input{}, err
	}
}

// join gives inputs one after another.
func join(inputs ...input) input {
	var all []io.Reader
	var size int64
	for _, in := range inputs {
		all = append(all, in.Reader)
		if in.size < 0 || size < 0 {
			size = -1
		} else {
			size += in.size
		}
	}
	return input{io.MultiReader(all...), size}
}

// openText gives the text of the arguments, of a file or of standard input; hasText
// is false where there is none beside an attachment.
func (s *submission) openText() (text input, hasText bool, err error) {
	switch {
	case s.given:
		return inputOf([]byte(s.text)), true, nil
	case s.file == "" && s.isForm():
		return input{}, false, nil
	case s.file == "" || s.file == "-":
		text, err = inputFrom(os.Stdin)
		return text, true, err
	}
	f, err := os.Open(s.file) // it is open until the program ends
	if err != nil {
		return input{}, false, err
	}
	text, err = inputFrom(f)
	return text, true, err
}

// openAttachment opens the file, and knows its size where it is a plain one.
func (s *submission) openAttachment() (input, error) {
	f, err := os.Open(s.attach) // it is open until the program ends
	if err != nil {
		return input{}, err
	}
	switch info, err := f.Stat(); {
	case err != nil:
		return input{}, err
	case info.IsDir():
		return input{}, &fs.PathError{Op: "read", Path: s.attach, Err: syscall.EISDIR}
	case info.Mode().IsRegular():
		return input{io.LimitReader(f, info.Size()), info.Size()}, nil // one that grows ends there
	}
	return input{f, -1}, nil
}

// open gives the request's body and its media type. With an attachment it is a form
// (RFC 7578), the file last, so that the service knows what to do with it.
func (s *submission) open() (body input, contentType string, err error) {
	text, hasText, err := s.openText()
	switch {
	case err != nil:
		return input{}, "", err
	case s.hook != "":
		return text, "application/json", nil
	case !s.isForm():
		return text, "text/plain; charset=utf-8", nil
	}
	file, err := s.openAttachment()
	if err != nil {
		return input{}, "", err
	}
	var frame bytes.Buffer // what stands around text and file; it takes every write
	form := multipart.NewWriter(&frame)
	for name, value := range s.fields() {
		_ = form.WriteField(name, value)
	}
	var parts []input
	cut := func() { parts = append(parts, inputOf(bytes.Clone(frame.Bytes()))); frame.Reset() }
	if hasText {
		_, _ = form.CreateFormField("body")
		cut()
		parts = append(parts, text)
	}
	_, _ = form.CreatePart(fileHeader(s.attach))
	cut()
	parts = append(parts, file)
	_ = form.Close()
	cut()
	return join(parts...), form.FormDataContentType(), nil
}

func fileHeader(file string) textproto.MIMEHeader {
	contentType := mime.TypeByExtension(strings.ToLower(filepath.Ext(file)))
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	return textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", filepath.Base(file))},
		"Content-Type":        {contentType},
	}
}
