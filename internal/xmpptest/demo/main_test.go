package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestDemo: `make demo ONCE=1` without the make.
func TestDemo(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "posthorn")
	if out, err := exec.Command("go", "build", "-o", binary, "posthorn/cmd/posthorn").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := demo(ctx, binary, true); err != nil {
		t.Fatal(err)
	}
}

// TestReadme: the README begins with the demonstration's curl.
func TestReadme(t *testing.T) {
	root, err := xmpptest.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join(curl("example.com:5288"), " ")
	got := strings.ReplaceAll(string(readme), `"`, "")
	if !strings.Contains(got, want) {
		t.Fatalf("README.md has no %s", want)
	}
}
