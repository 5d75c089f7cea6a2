package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Holder gives the process that has the directory of the database at path, 0 where there
// is none, or where the system does not tell. It asks the kernel for its list (proc(5),
// /proc/locks) and does not try the lock, which would keep out a posthorn that starts at
// this moment.
func Holder(path string) int {
	info, err := os.Stat(filepath.Join(filepath.Dir(path), lockName))
	if err != nil {
		return 0
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	locks, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return 0
	}
	return holderIn(string(locks), fmt.Sprintf("%02x:%02x:%d", unix.Major(file.Dev), unix.Minor(file.Dev), file.Ino)) // #nosec G115 -- a device's number is one
}

// holderIn reads lines such as
//
//	1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF
func holderIn(locks, file string) int {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) == 8 && f[1] == "FLOCK" && f[5] == file {
			pid, _ := strconv.Atoi(f[4])
			return max(pid, 0) // it may be in a namespace that is not ours
		}
	}
	return 0
}
