// Package render makes a message that a person can read of what a tool posts: a
// payload, which is JSON, goes through a template, which is Go's text/template. It
// does no I/O but the reading of the directory of own templates.
//
// The way of a payload:
//
//  1. Recognize finds which tool has sent it, where its sender did not say so
//     (recognize.go).
//  2. The template of that name is found: a built-in one, one of the administrator's
//     own, or a built-in one of which their own file replaces parts (set.go).
//  3. It is run, with a few functions (funcs.go) and within bounds of steps, time
//     and output (run.go), which parse.go has prepared: a template cannot read
//     files, the environment or the network, and none can run for ever.
//  4. Its main text is the message's body; blocks of certain names are its other
//     fields (message.go).
//
// Texts are styled as XEP-0393 has it (style.go), which is plain text for clients that
// do not know it; XHTML makes XHTML-IM of the same text (xhtml.go).
package render
