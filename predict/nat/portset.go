package nat

import "math/bits"

// A portSet is a set of ports that finds the next one missing in a few steps.
type portSet struct {
	words [1024]uint64
	full  [16]uint64 // a bit for each word that has all of its ports
	count int
}

func (s *portSet) has(port uint16) bool { return s.words[port>>6]>>(port&63)&1 != 0 }

func (s *portSet) add(port uint16) {
	if s.has(port) {
		return
	}
	i := port >> 6
	s.words[i] |= 1 << (port & 63)
	s.count++
	if s.words[i] == ^uint64(0) {
		s.full[i>>6] |= 1 << (i & 63)
	}
}

func (s *portSet) remove(port uint16) {
	if !s.has(port) {
		return
	}
	i := port >> 6
	s.words[i] &^= 1 << (port & 63)
	s.full[i>>6] &^= 1 << (i & 63)
	s.count--
}

// missing returns the lowest port from low to high that is not in the set.
func (s *portSet) missing(low, high uint16) (uint16, bool) {
	for i, end := int(low>>6), int(high>>6); i <= end; {
		free := ^s.words[i]
		if i == int(low>>6) {
			free &= ^uint64(0) << (low & 63)
		}
		if free != 0 {
			port := i<<6 + bits.TrailingZeros64(free)
			return uint16(port), port <= int(high)
		}
		i = s.nextWord(i + 1)
	}
	return 0, false
}

// nextWord returns the first word from i on that misses a port, or 1024.
func (s *portSet) nextWord(i int) int {
	for i < len(s.words) {
		open := ^s.full[i>>6] & (^uint64(0) << (i & 63))
		if open != 0 {
			return i&^63 + bits.TrailingZeros64(open)
		}
		i = i&^63 + 64
	}
	return i
}
