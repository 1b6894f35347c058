package nat

import "time"

// timers is a heap of sessions by due time. A session that lives longer is
// moved only when its time comes, so that a packet costs nothing here.
type timers []*session

// set makes s due at its deadline, or earlier.
func (h *timers) set(s *session) {
	switch {
	case s.index < 0:
		s.index, s.due = len(*h), s.deadline
		*h = append(*h, s)
		h.up(s.index)
	case s.deadline < s.due:
		s.due = s.deadline
		h.up(s.index)
	}
}

// pop returns a session whose deadline has come, or nil.
func (h *timers) pop(now time.Duration) *session {
	for len(*h) > 0 && (*h)[0].due <= now {
		s := (*h)[0]
		if s.deadline <= now {
			h.remove(s)
			return s
		}
		s.due = s.deadline
		h.down(0)
	}
	return nil
}

func (h *timers) remove(s *session) {
	i, last := s.index, len(*h)-1
	if i < 0 {
		return
	}
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	s.index = -1
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h timers) up(i int) {
	for i > 0 && h[i].due < h[(i-1)/2].due {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h timers) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].due < h[least].due {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
