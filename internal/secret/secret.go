// Package secret holds a value that cannot print: passwords, the component's
// secret, tokens. Every way in which fmt, log/slog and the encoders look at a
// value shows a placeholder instead.
package secret

import (
	"fmt"
	"log/slog"
)

const redacted = "[secret]"

// A Value keeps a secret string. The zero Value is an empty secret.
//
// The string is behind a pointer because fmt prints unexported struct fields
// by reflection, without asking their String method.
type Value struct{ text *string }

// New wraps text.
func New(text string) Value { return Value{&text} }

// Reveal gives the secret itself; each call is a place to look at in review.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Empty reports whether there is no secret.
func (v Value) Empty() bool { return v.text == nil || *v.text == "" }

func (Value) String() string               { return redacted }
func (Value) GoString() string             { return redacted }
func (Value) Format(s fmt.State, _ rune)   { _, _ = s.Write([]byte(redacted)) }
func (Value) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
