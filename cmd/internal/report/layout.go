package report

import (
	"cmp"
	"slices"
	"time"

	"tcppunch/captures"
)

// layOut gives every departure and arrival a row of its own in the order of
// time, and room between rows in which segments of both sides are under way,
// so that their arrows cross where it can be seen.
func (s *scene) layOut() {
	end := len(s.lanes) - 1
	for _, a := range s.arrows {
		for _, p := range a.points {
			if p.lane == 0 || p.lane == end {
				s.ticks = append(s.ticks, tick{p, p.lane == end})
			}
		}
		if a.points[0].lane != 0 && a.points[0].lane != end {
			s.ticks = append(s.ticks, tick{a.points[0], false})
		}
	}
	slices.SortStableFunc(s.ticks, func(x, y tick) int { return cmp.Compare(x.since, y.since) })
	s.ticks = slices.CompactFunc(s.ticks, func(x, y tick) bool { return x.since == y.since && x.lane == y.lane })
	row := 0.0
	for i := range s.ticks {
		if i > 0 {
			row += 1 + s.room(s.ticks[i-1].since, s.ticks[i].since)
		}
		s.ticks[i].row = row
	}
	s.rows = int(row) + 2
	for i := range s.arrows {
		for j := range s.arrows[i].points {
			s.arrows[i].points[j].row = s.rowOf(s.arrows[i].points[j])
		}
	}
}

// room is how many rows more an interval gets.
func (s *scene) room(from, to time.Duration) float64 {
	var under [3]int
	syns := 0
	for _, a := range s.arrows {
		first, last := a.points[0], a.points[len(a.points)-1]
		if first.since <= from && last.since >= to {
			under[a.from]++
			if a.syn {
				syns++
			}
		}
	}
	switch {
	case to-from < 100*time.Microsecond || under[captures.SideA] == 0 || under[captures.SideB] == 0:
		return 0
	case syns >= 2:
		return 5
	}
	return 2
}

// rowOf finds the tick of a point, if it has one; others lie between the
// ticks around them, as their times do.
func (s *scene) rowOf(p point) float64 {
	for _, t := range s.ticks {
		if t.since == p.since && t.lane == p.lane {
			return t.row
		}
	}
	i := slices.IndexFunc(s.ticks, func(t tick) bool { return t.since >= p.since })
	switch {
	case i < 0:
		return float64(s.rows - 2)
	case i == 0:
		return 0
	}
	before, after := s.ticks[i-1], s.ticks[i]
	if after.since == before.since {
		return before.row
	}
	return before.row + (after.row-before.row)*float64(p.since-before.since)/float64(after.since-before.since)
}

// crossing is where the arrows of two SYNs meet, on the axes of lanes and rows.
func (s *scene) crossing() (x, y float64, ok bool) {
	for i, a := range s.arrows {
		for _, b := range s.arrows[:i] {
			if a.syn && b.syn && a.from != b.from {
				if x, y, ok = meet(a, b); ok {
					return x, y, true
				}
			}
		}
	}
	return 0, 0, false
}

func meet(a, b arrow) (x, y float64, ok bool) {
	for i := 1; i < len(a.points); i++ {
		for j := 1; j < len(b.points); j++ {
			p, q, r, t := a.points[i-1], a.points[i], b.points[j-1], b.points[j]
			slopeA := (q.row - p.row) / float64(q.lane-p.lane)
			slopeB := (t.row - r.row) / float64(t.lane-r.lane)
			if slopeA == slopeB {
				continue
			}
			x = (r.row - p.row + slopeA*float64(p.lane) - slopeB*float64(r.lane)) / (slopeA - slopeB)
			if between(x, p.lane, q.lane) && between(x, r.lane, t.lane) {
				return x, p.row + slopeA*(x-float64(p.lane)), true
			}
		}
	}
	return 0, 0, false
}

func between(x float64, a, b int) bool {
	return x >= float64(min(a, b)) && x <= float64(max(a, b))
}
