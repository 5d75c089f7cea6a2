package main

import "golang.org/x/sys/unix"

// hideMemory keeps the secrets in this process's memory out of core dumps, those
// that are piped to a collector too, and from other processes of its user
// (PR_SET_DUMPABLE(2const)). Nothing is lost where the kernel refuses.
func hideMemory() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
