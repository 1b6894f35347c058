package captures

import (
	"cmp"
	"math/rand/v2"
	"testing"
)

// fewNumbers are addresses of which some are equal in one half.
func fewNumbers(random *rand.Rand) number {
	few := []uint64{0, 1, 1 << 31, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	return number{few[random.IntN(len(few))], few[random.IntN(len(few))]}
}

func TestBothDirectionsOfAFlowAreOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	for range 10_000 {
		from, to := fewNumbers(random), fewNumbers(random)
		sender, receiver := random.Uint32N(3)*0x7fff, random.Uint32N(3)*0x7fff
		var there, back flowID
		fromLow := there.set(from, to, sender<<16|receiver, 7)
		toLow := back.set(to, from, receiver<<16|sender, 7)
		there.setHash()
		back.setHash()
		if there != back {
			t.Fatalf("got %+v and back %+v", there, back)
		}
		order := cmp.Or(cmp.Compare(from.upper, to.upper), cmp.Compare(from.lower, to.lower), cmp.Compare(sender, receiver))
		if fromLow != (order <= 0) || toLow != (order >= 0) {
			t.Fatalf("%v %d to %v %d: got low %v, and back %v", from, sender, to, receiver, fromLow, toLow)
		}
	}
}

func TestATableFindsWhatIsInItAndNothingElse(t *testing.T) {
	random, s, want := rand.New(rand.NewPCG(2, 0)), shard{}, map[uint32]uint32{}
	look := func(port uint32) *look {
		var l look
		l.id.set(number{0, 1}, number{0, 2}, port, 0)
		l.id.hash = uint64(port%50) << 32 // many share a tag
		return &l
	}
	for range 20_000 {
		port := random.Uint32N(1000)
		n, there := want[port]
		if got := s.number(&look(port).id); got != n {
			t.Fatalf("port %d: got opening %d, want %d", port, got, n)
		}
		if there {
			s.table.remove(s.openings.at(n).hash, n)
			s.openings.give(n)
			delete(want, port)
		} else {
			want[port] = s.open(look(port))
		}
	}
	if s.table.used != len(want) {
		t.Errorf("got %d in use, want %d", s.table.used, len(want))
	}
}
