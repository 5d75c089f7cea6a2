package store

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHolder: who has the directory is found without touching it.
func TestHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "posthorn.db")
	if got := Holder(path); got != 0 {
		t.Errorf("before: %d", got)
	}
	lock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if got := Holder(path); got != os.Getpid() {
		t.Errorf("process %d has it, want %d", got, os.Getpid())
	}
	_ = lock.Close()
	if got := Holder(path); got != 0 {
		t.Errorf("after: %d", got)
	}
}

func TestHolderIn(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  READ 7 fd:01:5 128 128
2: FLOCK  ADVISORY  WRITE 42 fd:01:5 0 EOF
2: -> FLOCK  ADVISORY  WRITE 43 fd:01:6 0 EOF
3: FLOCK  ADVISORY  WRITE -1 fd:01:7 0 EOF
`
	for file, want := range map[string]int{"fd:01:5": 42, "fd:01:6": 0, "fd:01:7": 0, "": 0} {
		if got := holderIn(locks, file); got != want {
			t.Errorf("%s: %d, want %d", file, got, want)
		}
	}
}
