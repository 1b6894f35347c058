package lab

// Comparison is what `lab compare` prints: the same matrix over TCP and over
// UDP, and what either reached, by kind of pair.
type Comparison struct {
	TCP     Matrix      `json:"tcp"`
	UDP     Matrix      `json:"udp"`
	Classes []PairClass `json:"classes"`
}

// PairClass is one kind of pair, by what is known of the networks before
// anything runs. The last one of a comparison is all pairs together.
type PairClass struct {
	Class string `json:"class"`
	Pairs int    `json:"pairs"`
	TCP   Share  `json:"tcp"`
	UDP   Share  `json:"udp"`
}

// Share is how many of the valid meetings connected.
type Share struct {
	Established int        `json:"established"`
	Valid       int        `json:"valid"`
	Success     *float64   `json:"success"`
	CI95        [2]float64 `json:"ci95"` // Wilson's interval
}

func (s *Share) add(c Summary) {
	s.Established += c.Established
	s.Valid += c.Valid
	s.Success, s.CI95 = share(s.Established, s.Valid), wilson(s.Established, s.Valid)
}

// The kinds of pairs, in the order in which they are listed.
const (
	classSame    = "one box before both"
	classFamily  = "no address family in common"
	classDenied  = "ports stay, both refuse a crossing SYN"
	classReset   = "ports stay, both answer an early SYN"
	classSteady  = "ports stay on both sides, others"
	classOpen    = "ports change on one side, the other lets any port in"
	classGuessed = "ports change on one side, the other lets in what it sent to"
	classHard    = "ports change on both sides"
)

var classes = []string{classSteady, classReset, classDenied, classOpen, classGuessed, classHard, classSame, classFamily}

// classOf is the kind of a pair.
func classOf(a, b Profile) string {
	movesA, movesB := moves(a), moves(b)
	switch {
	case a.Shared || b.Shared:
		return classSame
	case !reachable(a, b):
		return classFamily
	case movesA && movesB:
		return classHard
	case movesA && admitsAnyPort(b), movesB && admitsAnyPort(a):
		return classOpen
	case movesA || movesB:
		return classGuessed
	case denies(a) && denies(b):
		return classDenied
	case timed(a, b):
		return classReset
	}
	return classSteady
}

// Compare puts two matrices of the same profiles side by side.
func Compare(profiles []Profile, tcp, udp Matrix) Comparison {
	byName := map[string]Profile{}
	for _, p := range profiles {
		byName[p.Name] = p
	}
	found := map[string]*PairClass{}
	total := PairClass{Class: "all pairs"}
	for i, c := range tcp.Cells {
		name := classOf(byName[c.A], byName[c.B])
		if found[name] == nil {
			found[name] = &PairClass{Class: name}
		}
		for _, k := range []*PairClass{found[name], &total} {
			k.Pairs++
			k.TCP.add(c.Summary)
			k.UDP.add(udp.Cells[i].Summary)
		}
	}
	result := Comparison{TCP: tcp, UDP: udp, Classes: []PairClass{}}
	for _, name := range classes {
		if k := found[name]; k != nil {
			result.Classes = append(result.Classes, *k)
		}
	}
	result.Classes = append(result.Classes, total)
	return result
}
