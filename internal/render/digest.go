package render

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The names by which tools call things, as plainName writes them, best-known first. Never
// written to.
var (
	titleNames  = []string{"title", "subject", "summary", "headline", "alertname", "eventname", "eventtitle"}
	textNames   = []string{"message", "text", "body", "msg", "content", "description", "details", "detail", "reason", "error", "output", "info"}
	eventNames  = []string{"eventtype", "event", "action", "alert", "name", "job", "check", "monitor", "app", "application"}
	thingNames  = []string{"service", "hostname", "host", "device", "instance", "node", "server", "username", "sender"}
	statusNames = []string{"status", "state", "severity", "level", "result", "outcome", "conclusion", "health", "impact", "urgency", "eventseverity", "type"}
	linkNames   = []string{"htmlurl", "weburl", "permalink", "url", "link", "fullurl", "alerturl", "href", "shortlink"}
	imageNames  = []string{"imageurl", "image", "picture", "screenshot", "thumbnail"}
)

// hues are the colours in which people see the words that tools use for how things are.
// Those without one are not worth saying. Never written to.
var hues = map[string]string{
	"alert": "red", "alerting": "red", "bad": "red", "broken": "red", "crashed": "red", "critical": "red",
	"degraded": "red", "disaster": "red", "down": "red", "emergency": "red", "error": "red", "err": "red",
	"fail": "red", "failed": "red", "failure": "red", "fatal": "red", "firing": "red", "high": "red",
	"major": "red", "offline": "red", "panic": "red", "problem": "red", "unhealthy": "red",
	"triggered": "red", "unreachable": "red", "urgent": "red",
	"average": "yellow", "medium": "yellow", "minor": "yellow", "unstable": "yellow", "warn": "yellow", "warning": "yellow",
	"fixed": "green", "good": "green", "healthy": "green", "ok": "green", "online": "green", "passed": "green",
	"recovered": "green", "recovery": "green", "resolved": "green", "success": "green", "succeeded": "green",
	"successful": "green", "up": "green",
	"debug": "", "default": "", "info": "", "information": "", "low": "", "none": "", "normal": "", "notice": "",
}

// What digest looks at.
const (
	maxObjects = 200
	maxMembers = 500 // of an object
	maxNested  = 5   // of objects and arrays in one another
	maxRest    = 12  // lines
)

// digest gives what an object of any tool says, by the names that most of them use: title
// and text, status where it is a word that has a hue (red, yellow or green), link, image,
// and as rest a line for what else there is.
func (r *run) digest(payload any) map[string]any {
	said := make(map[string]any) // as templates read it
	for name, value := range r.digested(payload) {
		said[name] = value
	}
	return said
}

func (r *run) digested(payload any) map[string]string {
	m := map[string]string{"title": "", "text": "", "status": "", "hue": "", "link": "", "image": "", "rest": ""}
	items, isArray := payload.([]any)
	object, isObject := payload.(map[string]any)
	switch {
	case isArray && len(items) == 1:
		return r.digested(items[0])
	case isArray:
		m["text"] = r.digestAll(items)
	case isObject:
		d := digester{places: placesIn(object)}
		d.digest(m)
	default:
		m["text"] = strings.TrimSpace(text(payload))
	}
	if markup.MatchString(m["text"]) {
		m["text"] = r.markdown(cut(maxStyled, m["text"]))
	}
	return m
}

// markup is HTML, which is not meant to be read as it is.
var markup = regexp.MustCompile(`(?i)</(?:a|b|div|em|h[1-6]|i|li|p|span|strong|table|td|ul)>|<br ?/?>`)

// digestAll gives a line for each item of an array.
func (r *run) digestAll(items []any) string {
	var lines []any
	for _, item := range first(10, items) {
		m := r.digested(item)
		line := titled(m["title"], m["text"])
		if line == "" {
			line = strings.ReplaceAll(m["rest"], "\n", ", ")
		}
		lines = append(lines, "- "+cut(maxValue, oneLine(line)))
	}
	if n := more(10, items); n > 0 {
		lines = append(lines, "… and "+counted(n, "more", "more"))
	}
	s, _ := join("\n", lines) // ten short lines
	return s
}

// A place is an object in the payload, at a depth of others around it.
type place struct {
	object map[string]any
	names  []string // of its members, in order
	depth  int
}

func newPlace(object map[string]any, depth int) place {
	names := slices.Sorted(maps.Keys(object))
	return place{object, names[:min(maxMembers, len(names))], depth}
}

// placesIn gives the objects in one, the outermost first, and of each array the first few.
func placesIn(object map[string]any) []place {
	levels := make([][]place, maxNested+2)
	levels[0] = []place{newPlace(object, 0)}
	found := 1
	for depth := range maxNested {
		for _, p := range levels[depth] {
			for _, name := range p.names {
				below := depth + 1
				if _, isArray := p.object[name].([]any); isArray {
					below++ // what there are several of is less telling
				}
				for _, item := range first(maxItems, p.object[name]) {
					if object, is := item.(map[string]any); is && found < maxObjects {
						levels[below] = append(levels[below], newPlace(object, below))
						found++
					}
				}
			}
		}
	}
	return slices.Concat(levels...)
}

// A digester looks for what an object says.
type digester struct {
	places []place  // the outermost first
	main   place    // where its title or its text is
	said   []string // values that need not be said again
}

func (d *digester) digest(m map[string]string) {
	words := d.headline(m)
	m["status"] = d.near(statusNames, func(x any) bool { return hues[strings.ToLower(text(x))] != "" })
	m["hue"] = hues[strings.ToLower(m["status"])]
	m["image"] = d.near(imageNames, isAddress)
	if m["link"] = d.near(linkNames, isAddress); m["link"] == "" {
		m["link"] = d.otherLink()
	}
	switch outermost := d.places[0].object; {
	case words:
		m["rest"] = d.beside(m["link"] != "")
	case m["title"] != "":
		l := lister{skip: d.skip}
		l.list(outermost, "", 0)
		m["rest"] = l.shown(maxListed)
	default:
		m["link"], m["rest"] = "", listing(outermost)
	}
}

// headline finds title and text, and reports whether there are such. What has happened, or
// what to, stands before the title where that is not the outermost object's own.
func (d *digester) headline(m map[string]string) bool {
	text, at := d.find(d.places, textNames, isWords)
	title, above := d.find(d.places, titleNames, isWords)
	if d.main = above; title == "" || text != "" && at.depth < above.depth {
		d.main = at
	}
	words := title+text != ""
	if title == "" || above.depth > 0 {
		event, _ := d.find(d.upTo(1), eventNames, isWords)
		title = titled(event, title)
	}
	if title == "" && text != "" {
		title, _ = d.find(d.upTo(0), thingNames, isWords)
	}
	m["title"], m["text"] = title, text
	return words
}

// upTo gives the places that are not deeper.
func (d *digester) upTo(depth int) []place {
	i := slices.IndexFunc(d.places, func(p place) bool { return p.depth > depth })
	if i < 0 {
		return d.places
	}
	return d.places[:i]
}

// find gives the member whose name stands first among these, of those that will do, and
// where it is: the less deep, the better.
func (d *digester) find(places []place, names []string, fits func(any) bool) (found string, at place) {
	best := len(names)
	for _, p := range places {
		if best < len(names) && p.depth > at.depth {
			break
		}
		for _, name := range p.names {
			if i := slices.Index(names, plainName(name)); i >= 0 && i < best && fits(p.object[name]) {
				best, found, at = i, text(p.object[name]), p
			}
		}
	}
	if found != "" {
		d.said = append(d.said, found)
	}
	return strings.TrimSpace(found), at
}

// around gives the object where the title is, and the outermost one.
func (d *digester) around() []place {
	if d.main.depth == 0 {
		return d.places[:1]
	}
	return []place{d.main, d.places[0]}
}

// near looks where the title is before it looks elsewhere.
func (d *digester) near(names []string, fits func(any) bool) string {
	for _, places := range [][]place{{d.main}, d.places} {
		if found, _ := d.find(places, names, fits); found != "" {
			return found
		}
	}
	return ""
}

// otherLink finds an address under a name such as wikiUrl.
func (d *digester) otherLink() string {
	for _, p := range d.around() {
		for _, name := range p.names {
			plain := plainName(name)
			if (strings.HasSuffix(plain, "url") || strings.HasSuffix(plain, "link")) && isAddress(p.object[name]) {
				d.said = append(d.said, text(p.object[name]))
				return text(p.object[name])
			}
		}
	}
	return ""
}

// plainName writes a member's name without capitals and signs: htmlUrl, html_url and
// html-url are one.
func plainName(name string) string { return strings.ToLower(nameSigns.Replace(name)) }

var nameSigns = strings.NewReplacer("_", "", "-", "", " ", "", "@", "")

func isWords(x any) bool {
	switch x := x.(type) {
	case string:
		return strings.TrimSpace(x) != ""
	case int64, decimal:
		return true
	}
	return false
}

func isAddress(x any) bool {
	s, _ := x.(string)
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

// beside lists the plain values where the title is, and outside, and one level below;
// without addresses, where there is a link.
func (d *digester) beside(linked bool) string {
	l := lister{skip: func(name string, value any) bool {
		return !isSimple(value) || linked && isAddress(value) || d.skip(name, value)
	}}
	for _, p := range d.around() {
		for _, name := range p.names {
			l.add(cut(maxMember, oneLine(name)), p.object[name])
		}
	}
	for _, name := range d.main.names {
		below, _ := d.main.object[name].(map[string]any)
		for _, member := range slices.Sorted(maps.Keys(below)) {
			l.add(cut(maxMember, oneLine(name+"."+member)), below[member])
		}
	}
	return l.shown(maxRest)
}

// machine is the name of what means something to machines alone.
var machine = regexp.MustCompile(`(?:^|[._-])(?:uu|gu|u)?id$|[a-z]I[dD]$|^version$`)

// skip reports whether a value is not worth a line, or was said already.
func (d *digester) skip(name string, value any) bool {
	said := text(value)
	if machine.MatchString(name) || slices.Contains(d.said, said) {
		return true
	}
	if hue, isStatus := hues[strings.ToLower(said)]; isStatus && hue == "" && slices.Contains(statusNames, plainName(name)) {
		return true
	}
	if isWords(value) && len(d.said) < maxListed {
		d.said = append(d.said, said)
	}
	return false
}
