package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posthorn/internal/xmpptest"
)

// TestClusterEjabberd: ejabberd lets the connection of a posthorn that hangs stay beside
// that of the next one. Then that one waits, and what is accepted is sent once all the
// same; with the HAProxy of the example it does not have to.
func TestClusterEjabberd(t *testing.T) {
	e := xmpptest.StartEjabberd(t, xmpptest.EjabberdOptions{Component: []xmpptest.Edit{xmpptest.Privilege}})
	e.Users(t, password, "me@example.com", "user@example.com", "owner@example.com")
	c := &cluster{server: &e.Server}
	c.startPostgreSQL(t)
	m := openMailbox(t, c.server.MustLogin(t, "user@example.com", password))
	if !t.Run("alone", func(t *testing.T) { c.waitsForAlone(t, m) }) {
		return
	}
	c.server.ComponentAddress = startComponentProxy(t, e.ComponentAddress)
	t.Run("HAProxy", func(t *testing.T) { c.takesOver(t, m) })
}

// startComponentProxy starts the HAProxy of the example before ejabberd, and gives the
// address of its.
func startComponentProxy(t *testing.T, ejabberd string) (address string) {
	t.Helper()
	address = freeAddress(t)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	own := strings.Replace(strings.Replace(haproxyOwn, "\tstats socket %s level admin\n", "", 1), "httplog", "tcplog", 1)
	writeFile(t, file, own+ofCluster(t, "haproxy-ejabberd.cfg", "10.0.0.4:5347", address, "127.0.0.1:5347", ejabberd))
	runHAProxy(t, file, &lines{t: t})
	xmpptest.Wait(t, 10*time.Second, "HAProxy listens", func() bool { return xmpptest.Accepts(address) })
	return address
}

// startPair starts two instances, and gives the one that has the stream and the other.
func (c *cluster) startPair(t *testing.T) (holder, other *instance) {
	t.Helper()
	for i, name := range []string{"one", "two"} {
		c.instances[i] = c.startInstance(t, name)
		t.Cleanup(func() { _ = c.instances[i].Kill() }) // who is asked to stop says farewell first
	}
	for _, i := range c.instances {
		i.ready(t)
		if a := i.mustPost(t, "/msg/user", "before, by "+i.name+" of "+t.Name(), nil); a.Status != "routed" {
			t.Fatalf("by %s: %d %s", i.name, a.status, a.raw)
		}
	}
	return c.roles(t)
}

// waitsForAlone: beside a connection that hangs nothing is sent, and when that has gone
// everything is, once.
func (c *cluster) waitsForAlone(t *testing.T, m *mailbox) {
	holder, other := c.startPair(t)
	if err := holder.Pause(); err != nil {
		t.Fatal(err)
	}
	says := func() bool {
		return strings.Contains(other.log.String(), "end the other connection of post.example.com")
	}
	var texts []string
	for n := 0; n < 20 || !says(); n++ {
		texts = append(texts, fmt.Sprint("kept ", n))
		if a := other.mustPost(t, "/msg/user", texts[n], nil); a.status != http.StatusAccepted {
			t.Fatalf("number %d: %d %s", n, a.status, a.raw)
		}
	}
	if h := other.mustGet(t, "/healthz"); strings.Contains(h.raw, `"stream":"up"`) {
		t.Errorf("healthz is %s", h.raw)
	}
	if err := holder.Resume(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 20*time.Second, "the last has come", func() bool { return m.has(texts[len(texts)-1]) })
	if got := m.texts("kept "); strings.Join(got, ",") != strings.Join(texts, ",") {
		t.Errorf("received were %q, want %q", got, texts)
	}
}

// takesOver: as with Prosody, also to a room.
func (c *cluster) takesOver(t *testing.T, m *mailbox) {
	holder, other := c.startPair(t)
	r := openRoom(t, c.server.MustLogin(t, "owner@example.com", password), "ops", nil)
	said := func(i *instance, text string) {
		t.Helper()
		if a := i.mustPost(t, "/msg/"+r.address()+"?type=groupchat", text, nil); a.Status != "delivered" {
			t.Errorf("%s: %d %s", text, a.status, a.raw)
		}
		if nick, _ := r.hears(t, text); nick != "me" {
			t.Errorf("%s was said by %s", text, nick)
		}
	}
	said(holder, "by the holder")
	said(other, "by the other")
	if err := holder.Pause(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 20*time.Second, "the other has the stream", func() bool { return other.metric(t, "posthorn_component_up") == 1 })
	if a := other.mustPost(t, "/msg/user", "after the takeover", nil); a.Status != "routed" {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	said(other, "after the takeover")
	if err := holder.Resume(); err != nil {
		t.Fatal(err)
	}
	xmpptest.Wait(t, 20*time.Second, "the first knows of it", func() bool { return strings.Contains(holder.log.String(), "this posthorn has lost the stream") })
	for _, i := range []*instance{holder, other} {
		i.ready(t)
		said(i, "after all, by "+i.name)
	}
	if got := m.texts("after the takeover"); len(got) != 1 {
		t.Errorf("received were %q", got)
	}
}
