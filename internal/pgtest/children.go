package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthorn/internal/xmpptest"
)

// PostgreSQL has a process for each connection, each in a session of its own, so that
// no process group has them all.

// childrenOf are the processes whose parent this is (proc_pid_stat(5)).
func childrenOf(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if fields := stat(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat is what the system says of a process from its state on; nothing if it has gone.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

func stopped(state string) bool { return state == "T" }

func gone(state string) bool { return state == "" || state == "Z" || state == "X" }

// each sends a signal to all; one that has ended is no error.
func each(pids []int, s syscall.Signal) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// signalTimeout bounds how long processes may take to do as a signal says. It takes a
// moment; the rest is for a busy machine.
const signalTimeout = 15 * time.Second

// await returns when every process is in such a state, or has gone.
func await(pids []int, is func(state string) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), signalTimeout)
	defer cancel()
	return xmpptest.Poll(ctx, func() bool {
		for _, pid := range pids {
			state := ""
			if fields := stat(pid); len(fields) > 0 {
				state = fields[0]
			}
			if !is(state) && !gone(state) {
				return false
			}
		}
		return true
	})
}
