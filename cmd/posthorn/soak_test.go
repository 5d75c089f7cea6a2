//go:build soak

package main

import (
	"bufio"
	"net/http"
	"testing"

	"posthorn/internal/xmpptest"
)

func TestTenThousandIdleConnections(t *testing.T) { idleConnections(t, 10000) }

// TestSlowRequests: a header or a body that does not come in time is given up.
func TestSlowRequests(t *testing.T) {
	p := prosodyWithUsers(t, xmpptest.Options{})
	h := startPosthorn(t, p).ready(t)
	for name, request := range map[string]string{
		"header": "POST /msg/user HTTP/1.1\r\nHost: x\r\n",
		"body":   "POST /msg/user HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nslow",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response, err := http.ReadResponse(bufio.NewReader(h.dialRaw(t, request)), nil)
			if name == "header" && err == nil || name == "body" && (err != nil || response.StatusCode != http.StatusRequestTimeout) {
				t.Fatalf("answer is %v, %v", response, err)
			}
		})
	}
}

func TestLongRestartStorm(t *testing.T) { restartStorm(t, 30) }
