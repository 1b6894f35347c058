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
func (t *table) slot(id *flowID, openings *slab[opening]) int {
	mask := len(t.slots) - 1
	for i := int(id.tag) & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s == 0 || uint32(s>>32) == id.tag && openings.at(uint32(s)).id.is(id) {
			return i
		}
	}
}

// first is the first slot that a flow with a tag may be in.
func (t *table) first(tag uint32) uint64 {
	if len(t.slots) == 0 {
		return 0
	}
	return t.slots[int(tag)&(len(t.slots)-1)]
}

// hint is the number of the first opening whose tag is that; 0 if there is none.
func (t *table) hint(tag uint32) uint32 {
	if t.used == 0 {
		return 0
	}
	mask := len(t.slots) - 1
	for i := int(tag) & mask; ; i = (i + 1) & mask {
		if s := t.slots[i]; s == 0 || uint32(s>>32) == tag {
			return uint32(s)
		}
	}
}

func (t *table) find(id *flowID, openings *slab[opening]) uint32 {
	if t.used == 0 {
		return 0
	}
	return uint32(t.slots[t.slot(id, openings)])
}

func (t *table) put(id *flowID, number uint32, openings *slab[opening]) {
	if t.used*4 >= len(t.slots)*3 {
		t.grow()
	}
	t.slots[t.slot(id, openings)] = uint64(id.tag)<<32 | uint64(number)
	t.used++
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
func (t *table) remove(id *flowID, openings *slab[opening]) {
	mask := len(t.slots) - 1
	gap := t.slot(id, openings)
	if t.slots[gap] == 0 {
		return
	}
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
