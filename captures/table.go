package captures

// table finds the opening of a flow: open addressing with linear probing. A
// slot is the opening's number and, in its upper half, the flow's tag; 0 is free.
type table struct {
	slots []uint64
	used  int
}

const firstSlots = 64

// slot is where a flow is, or where it would be put. The tag is compared before
// the opening itself is looked at.
func (s *shard) slot(id *flowID) int {
	slots, tag := s.table.slots, tagOf(id.hash)
	mask := len(slots) - 1
	for i := int(tag) & mask; ; i = (i + 1) & mask {
		if x := slots[i]; x == 0 || uint32(x>>32) == tag && s.openings.at(uint32(x)).isOf(id) {
			return i
		}
	}
}

// number is the opening of a flow; 0 if there is none.
func (s *shard) number(id *flowID) uint32 {
	if s.table.used == 0 {
		return 0
	}
	return uint32(s.table.slots[s.slot(id)])
}

// put is for a flow that is not there.
func (s *shard) put(id *flowID, number uint32) {
	t := &s.table
	if t.used*4 >= len(t.slots)*3 {
		t.grow()
	}
	t.slots[s.slot(id)] = slotOf(id.hash, number)
	t.used++
}

// at is the slot of a number that is there.
func (t *table) at(hash uint64, number uint32) int {
	mask, slot := len(t.slots)-1, slotOf(hash, number)
	i := int(tagOf(hash)) & mask
	for t.slots[i] != slot {
		i = (i + 1) & mask
	}
	return i
}

func slotOf(hash uint64, number uint32) uint64 { return uint64(tagOf(hash))<<32 | uint64(number) }

// first is the first slot that a flow may be in.
func (t *table) first(hash uint64) uint64 {
	if len(t.slots) == 0 {
		return 0
	}
	return t.slots[int(tagOf(hash))&(len(t.slots)-1)]
}

// hint is the number of the first opening with the tag of a hash; 0 if there is
// none.
func (t *table) hint(hash uint64) uint32 {
	if t.used == 0 {
		return 0
	}
	mask, tag := len(t.slots)-1, tagOf(hash)
	for i := int(tag) & mask; ; i = (i + 1) & mask {
		if s := t.slots[i]; s == 0 || uint32(s>>32) == tag {
			return uint32(s)
		}
	}
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, max(firstSlots, 2*len(old)))
	mask := len(t.slots) - 1
	for _, s := range old {
		if s == 0 {
			continue
		}
		i := int(s>>32) & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

// remove closes the gap, so that no flow behind it is lost.
func (t *table) remove(hash uint64, number uint32) {
	mask := len(t.slots) - 1
	gap := t.at(hash, number)
	t.used--
	for i := (gap + 1) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		home := int(t.slots[i]>>32) & mask
		if (i-home)&mask >= (i-gap)&mask { // its home does not lie behind the gap
			t.slots[gap] = t.slots[i]
			gap = i
		}
	}
	t.slots[gap] = 0
}
