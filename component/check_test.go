package component

import (
	"math"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"posthorn/internal/stream"
)

// TestCheck: what is found out about each host, and that the stream is left then.
func TestCheck(t *testing.T) {
	const one = "urn:xmpp:privilege:1"
	unlimited := `<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:http:upload:0'/></query>`
	for _, test := range []struct {
		name   string
		mode   Mode
		server *server
		files  bool
		want   HostReport // of example.com, without hints
		hint   bool
	}{
		{"without files", Auto, (&services{items: hostItems, info: uploadInfo}).server(), false, HostReport{Mode: "direct", Tells: true}, false},
		{"with files", Auto, (&services{items: hostItems, info: uploadInfo}).server(), true, HostReport{Mode: "direct", Tells: true, Upload: "upload.example.com", UploadLimit: 10485760}, false},
		{"without a limit", Auto, (&services{items: hostItems, info: unlimited}).server(), true, HostReport{Mode: "direct", Tells: true, Upload: "upload.example.com", UploadLimit: math.MaxInt64}, false},
		{"no service", Auto, (&services{items: hostItems, info: otherInfo}).server(), true, HostReport{Mode: "direct", Tells: true}, true},
		{"nobody answers", Auto, (&services{}).server(), true, HostReport{Mode: "direct", Tells: true}, true},
		{"by privilege", Privilege, &server{greet: grant(one, "example.com"), onInquiry: (&services{items: hostItems, info: uploadInfo}).inquiry}, true, HostReport{Mode: "privilege", Upload: "upload.example.com", UploadLimit: 10485760}, false},
		{"mute", Auto, &server{checkFrom: true}, true, HostReport{Mode: "refused"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := test.server.options(t)
				options.Mode = test.mode
				c := New(options)
				reports, err := c.Check(t.Context(), test.files)
				if err != nil || len(reports) != 1 || c.State() == Up {
					t.Fatalf("%v %+v", err, reports)
				}
				test.want.Host = "example.com"
				if diff := cmp.Diff(test.want, reports[0], cmpopts.IgnoreFields(HostReport{}, "Hint", "UploadHint")); diff != "" {
					t.Error(diff)
				}
				if got := reports[0].Hint+reports[0].UploadHint != ""; got != test.hint {
					t.Errorf("hints are %q and %q", reports[0].Hint, reports[0].UploadHint)
				}
			})
		})
	}
}

// TestCheckIsCutOff: a server that goes away meanwhile is an error.
func TestCheckIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{onInquiry: func(_ int, p *peer, _ *stream.Element) { p.streamError("system-shutdown") }}
		if reports, err := New(s.options(t)).Check(t.Context(), true); err == nil {
			t.Errorf("it says %+v", reports)
		}
	})
}
