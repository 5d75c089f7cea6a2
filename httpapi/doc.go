// Package httpapi is the HTTP side of posthorn: it turns requests into
// messages and what becomes of them into answers. It checks no password and
// speaks no XMPP; those who do are handed to New as interfaces, and the
// server with its listeners and timeouts is the caller's.
//
// A request to send goes this way:
//
//  1. The path is taken apart by hand (route.go), because http.ServeMux
//     answers `//` with a redirect, and clients follow one without the body.
//  2. The method, then the declared size (body.go), a browser's page of another
//     origin (origin.go), and whether there are credentials at all
//     (credentials.go): what fails here is refused with its body unread.
//  3. The body is read, up to the limit (body.go).
//  4. The credentials are verified, for the client's address (client.go), and the
//     sender's permission checked (credentials.go).
//  5. The body becomes fields by its Content-Type (content.go, json.go,
//     form.go), to which the path, the query and the headers add.
//  6. The fields become one message for each recipient (send.go,
//     recipients.go, id.go); a mistake in any of them and nothing is sent.
//  7. The messages are counted for the sender's rate (rate.go) and delivered, and
//     the outcomes become one answer (deliver.go). Every failure is a
//     fault.Error, whose kind has a row in one table (errors.go), and is written
//     as a problem (problem.go).
//
// One that may have a file (attach.go, parcel.go) goes from 2 to 4, since its body may be large:
// the file goes to disk (spool.go) while the fields are read, and up to the server's
// upload service between 6 and 7, when nothing but the link is missing in the message.
//
// The page for people (page.go) is files that are served as they are. Its script asks
// what every client may ask, and /status (status.go), which tells who is signed in how
// posthorn is, and what became of their last messages (memory.go).
//
// It implements HTTP semantics (RFC 9110), Basic authentication (RFC 7617), the
// client's address behind proxies (RFC 7239), HSTS (RFC 6797), problem details (RFC 9457), JSON
// (RFC 8259), multipart/form-data (RFC 7578), links to files (XEP-0066), encoded words (RFC 2047) in the
// subject's header, and the fetch standard's CORS protocol.
package httpapi
