package captures

import (
	"cmp"
	"slices"
)

// defaultLimit is how many openings are listed if nobody says how many.
const defaultLimit = 1000

// listing collects handshakes: all are counted, and as many are held as are to
// be listed, the telling ones first.
type listing struct {
	filter            Filter
	limit             int
	summary           map[Verdict]int
	telling, ordinary []Handshake
}

func newListing(filter Filter) *listing {
	limit := filter.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	return &listing{filter: filter, limit: limit, summary: map[Verdict]int{}}
}

// isTelling: what a large capture holds by the hundred thousand is not.
func (v Verdict) isTelling() bool {
	switch v {
	case VerdictThreeWay, VerdictUnanswered, VerdictRefused, VerdictIncomplete:
		return false
	}
	return true
}

func (l *listing) add(h Handshake) {
	if !l.filter.matches(h) {
		return
	}
	l.summary[h.Verdict]++
	into := &l.ordinary
	if h.Verdict.isTelling() {
		into = &l.telling
	}
	if len(*into) < l.limit {
		*into = append(*into, h)
	}
}

// handshakes returns those to be listed in the order of their beginning, and
// how many are not listed.
func (l *listing) handshakes() ([]Handshake, int) {
	rest := min(len(l.ordinary), l.limit-len(l.telling))
	list := slices.Concat([]Handshake{}, l.telling, l.ordinary[:rest])
	sortHandshakes(list)
	all := 0
	for _, n := range l.summary {
		all += n
	}
	return list, all - len(list)
}

func sortHandshakes(list []Handshake) {
	slices.SortStableFunc(list, func(x, y Handshake) int { return x.Events[0].At.Compare(y.Events[0].At) })
}

// count counts the openings that are judged already.
func (l *listing) count(counts verdictCounts) {
	for v, n := range counts {
		if n > 0 {
			l.summary[Verdict(v)] += n
		}
	}
}

// choose counts the ordinary openings that could not be listed, and returns the
// others, which are to be judged in full: what several places may show, what
// takes thought, and as many as are listed.
func (l *listing) choose(list []opened, orphans []Segment) []opened {
	if severalOpened(list) {
		return list
	}
	shared := sharedNumbers(list, orphans)
	room := l.limit
	return slices.DeleteFunc(list, func(o opened) bool {
		opening := o.shard.openings.at(o.number)
		verdict, quick := opening.quickVerdict()
		if !quick || shared[o] {
			return false
		}
		if !l.filter.matchesKey(o.shard.id(o.number)) {
			return true
		}
		if room > 0 {
			room--
			return false
		}
		l.summary[verdict]++
		return true
	})
}

func severalOpened(list []opened) bool {
	for _, o := range list {
		if o.shard.details.at(o.number).place>>1 != list[0].shard.details.at(list[0].number).place>>1 {
			return true
		}
	}
	return false
}

// sharedNumbers finds the openings whose initial sequence numbers another one
// has too, and those that a stray RST may belong to. The latter answers an
// initial sequence number by the next one.
func sharedNumbers(list []opened, orphans []Segment) map[opened]bool {
	type use struct {
		isn    uint32
		opened int // index into list; -1: a RST
	}
	uses := make([]use, 0, 2*len(list))
	for i, o := range list {
		state, isn := o.shard.openings.at(o.number).state, o.shard.openings.at(o.number).isn
		for end := range 2 {
			if state&of(end, stateISN) != 0 {
				uses = append(uses, use{isn[end], i})
			}
		}
	}
	for _, s := range orphans {
		uses = append(uses, use{s.Seq - 1, -1}, use{s.Ack - 1, -1})
	}
	slices.SortFunc(uses, func(x, y use) int { return cmp.Compare(x.isn, y.isn) })
	shared := map[opened]bool{}
	for i := 1; i < len(uses); i++ {
		x, y := uses[i-1], uses[i]
		if x.isn != y.isn || x.opened == y.opened {
			continue
		}
		for _, u := range []use{x, y} {
			if u.opened >= 0 {
				shared[list[u.opened]] = true
			}
		}
	}
	return shared
}
