package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"posthorn/internal/secret"
)

func TestNothingPrintsIt(t *testing.T) {
	const text = "hunter2-äöü"
	type options struct{ hidden secret.Value }
	value := secret.New(text)
	var out bytes.Buffer
	for _, v := range []any{value, &value, options{value}, &options{value}, []secret.Value{value}, map[string]secret.Value{"a": value}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		_ = json.NewEncoder(&out).Encode(v)
		_ = xml.NewEncoder(&out).Encode(v)
	}
	for _, form := range []string{text, fmt.Sprintf("%x", text), "hunter2"} {
		if strings.Contains(out.String(), form) {
			t.Fatalf("printed %q in:\n%s", form, out.String())
		}
	}
	if value.Reveal() != text {
		t.Fatalf("Reveal() = %q, want %q", value.Reveal(), text)
	}
}

func TestZeroValueIsEmpty(t *testing.T) {
	var zero secret.Value
	if !zero.Empty() || zero.Reveal() != "" || !secret.New("").Empty() || secret.New("x").Empty() {
		t.Fatal("Empty or Reveal is wrong for the zero value")
	}
}
