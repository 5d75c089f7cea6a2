//go:build !linux

package stream

import "syscall"

// quickACK is for Linux, where acknowledgements are delayed most.
func quickACK(syscall.RawConn) {}
