package auth

import (
	"slices"

	"posthorn/internal/message"
)

// What follows is called with flights.mu held, unless it says otherwise.

// owes is what a flight is behind others for; nothing when its password was right
// lately.
func (f *flights) owes(t ticket) int {
	if t.likely {
		return 0
	}
	return f.throttle.owes(t.account, t.from)
}

// allow gives an error where too many wrong passwords came from there.
func (f *flights) allow(t ticket) error {
	if t.exempt {
		return nil
	}
	return f.throttle.check(t.account, t.from)
}

// mayFly reports whether there is a turn for it now.
func (f *flights) mayFly(t ticket) bool {
	host, account := maxProbes, maxAccountProbes
	if f.owes(t) > 0 {
		host, account = host-reservedProbes, account-1
	}
	return f.flying < host && f.of(t.account).flying < account
}

// launch gives a flight its turn. Until it is known not to be a wrong guess it is
// counted as one.
func (f *flights) launch(it *flight) {
	if !it.free {
		if err := f.throttle.take(it.account, it.from); err != nil {
			it.turn <- err
			return
		}
	}
	f.flying++
	f.of(it.account).flying++
	it.turn <- nil
}

// callUp gives the turns that are free, first to who owes least, and among those
// to who came first. Who owes too much by now goes.
func (f *flights) callUp() {
	for {
		var next *flight
		least := 0
		f.waiting = slices.DeleteFunc(f.waiting, func(it *flight) bool {
			if err := f.allow(it.ticket); err != nil {
				it.turn <- err
				return true
			}
			if owes := f.owes(it.ticket); (next == nil || owes < least) && f.mayFly(it.ticket) {
				next, least = it, owes
			}
			return false
		})
		if next == nil {
			return
		}
		f.remove(next)
		f.launch(next)
	}
}

// makeRoom reports whether one more may wait. Where too many do, one who comes
// alone and owes nothing takes the place of one who is many, or owes most.
func (f *flights) makeRoom(t ticket) bool {
	crowded := f.of(t.account).flights >= maxAccountWaiting
	if !crowded && len(f.shared) < maxWaiting {
		return true
	}
	if !t.likely && f.owes(t)+f.networks[t.from] > 0 {
		return false
	}
	var worst *flight
	most := 1 // one who comes alone as well
	for _, it := range f.waiting {
		if crowded && it.account != t.account || it.likely {
			continue
		}
		if weight := f.owes(it.ticket) + f.networks[it.from]; weight > most {
			worst, most = it, weight
		}
	}
	if worst == nil {
		return false
	}
	f.remove(worst)
	worst.turn <- &ProbeError{Busy, "", errQueueFull}
	return true
}

// dismiss ends the waiting of a flight whose turn has not come. It takes the lock.
func (f *flights) dismiss(it *flight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.remove(it) {
		it.turn <- err
	}
}

func (f *flights) remove(it *flight) bool {
	i := slices.Index(f.waiting, it)
	if i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
	}
	return i >= 0
}

func (f *flights) of(account message.JID) *traffic {
	if t, found := f.accounts[account]; found {
		return t
	}
	return &traffic{}
}

// enter counts a flight in.
func (f *flights) enter(it *flight) {
	f.shared[it.mac] = it
	f.networks[it.from]++
	t := f.of(it.account)
	t.flights++
	f.accounts[it.account] = t
}

// leave counts a flight out and gives its turn to another, if it had one. It takes
// the lock.
func (f *flights) leave(it *flight, flew bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.shared, it.mac)
	if f.networks[it.from]--; f.networks[it.from] == 0 {
		delete(f.networks, it.from)
	}
	t := f.accounts[it.account]
	if t.flights--; t.flights == 0 {
		delete(f.accounts, it.account)
	}
	if flew {
		f.flying--
		t.flying--
		f.callUp()
	}
}
