package captures

// slabChunk is how many elements are allocated at once: few, since most
// analyses are small.
const slabChunk = 256

// slab holds elements without pointers by number, from 1; 0 is none. It grows
// without moving what it holds, so that memory never holds it twice, and what
// the garbage collector has to look at is one pointer for each chunk. The chunks
// are slices rather than pointers to arrays: before it indexes such an array the
// compiler has the processor look at its first byte, lest the pointer be nil,
// and that is one more wait for memory.
type slab[T any] struct {
	chunks [][]T
	made   uint32 // numbers handed out so far
	free   []uint32
}

func (s *slab[T]) at(n uint32) *T { return &s.chunks[n/slabChunk][n%slabChunk] }

// take returns the number of an unused element, which holds its zero value.
func (s *slab[T]) take() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		return n
	}
	s.made++
	for int(s.made/slabChunk) >= len(s.chunks) { // also where 256 is the first number after 0 to 255
		s.chunks = append(s.chunks, make([]T, slabChunk))
	}
	return s.made
}

// next is the number that take will return after so many others; 0 if it is a
// new one.
func (s *slab[T]) next(others int) uint32 {
	if i := len(s.free) - 1 - others; i >= 0 {
		return s.free[i]
	}
	return 0
}

func (s *slab[T]) give(n uint32) {
	var zero T
	*s.at(n) = zero
	s.giveUsed(n)
}

// giveUsed is give where it is of no account what the next one to take it finds.
func (s *slab[T]) giveUsed(n uint32) { s.free = append(s.free, n) }

// held is how many elements are in use.
func (s *slab[T]) held() int { return int(s.made) - len(s.free) }
