package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestDiskFull: with no room on the disk, what would have to be kept is refused,
// what can be handed over is not, and when there is room again it is as before.
func TestDiskFull(t *testing.T) {
	p := prosodyWithUsers(t, keepsAll)
	disk := t.TempDir()
	// A mount of its own, which needs no privilege where user namespaces are allowed.
	command := []string{"unshare", "-Urm", "sh", "-c", fmt.Sprintf(`mount -t tmpfs -o size=2m tmpfs %s && exec posthorn "$@"`, disk), "sh"}
	h := startPosthornBy(t, command, p, `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(disk, "posthorn.db"))).ready(t)
	if a := h.mustPost(t, "/msg/user", "with room", nil); a.status != http.StatusCreated {
		t.Fatalf("answer is %d %s", a.status, a.raw)
	}
	// The disk as posthorn sees it (proc(5)).
	filler := filepath.Join(fmt.Sprintf("/proc/%d/root", h.Pid()), disk, "filler")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := fill(filler); err == nil {
		t.Fatal("the disk is not full")
	}
	kept := map[string]bool{}
	refused := 0
	for i := 0; refused < 3; i++ {
		text := fmt.Sprintf("%d %01000d", i, 0)
		switch a := h.mustPost(t, "/msg/user", text, nil); {
		case a.status == http.StatusAccepted && i < 1000:
			kept[text] = true
		case a.status == http.StatusServiceUnavailable:
			refused++
		default:
			t.Fatalf("message %d: %d %s", i, a.status, a.raw)
		}
	}
	if a := h.mustGet(t, "/healthz"); a.raw == "" || a.status != http.StatusOK || !strings.Contains(a.raw, `"store":"failing"`) {
		t.Errorf("healthz is %d %s", a.status, a.raw)
	}
	if a := h.mustGet(t, "/readyz"); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz is %d %s", a.status, a.raw)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.ready(t)
	if a := h.mustPost(t, "/msg/me", "without room", nil); a.status != http.StatusCreated {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 10*time.Second, "messages are kept again", func() bool { return strings.Contains(h.mustGet(t, "/healthz").raw, `"store":"ok"`) })
	h.drained(t)
	user := p.MustLogin(t, "user@example.com", password)
	expect(t, user, "me@example.com", "with room")
	for range kept {
		if m := user.MustReceive(t); !kept[m.Body] {
			t.Errorf("%.10q was received, and not accepted, or twice", m.Body)
		} else {
			kept[m.Body] = false
		}
	}
}

// fill writes until there is no room.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		for range 64 << 10 {
			if _, err = file.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return err
}
