package captures

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

var walkedLinks = []LinkType{LinkEthernet, LinkSLL, LinkSLL2, LinkRaw, LinkNull, LinkLoop, LinkPPP, linkPPPEther}

// agree checks that a glance at a frame finds what decoding it finds, or leaves
// it to the decoder.
func agree(t *testing.T, d *Decoder, link LinkType, data []byte) {
	t.Helper()
	var l look
	glance := l.walk(link, data, placeOf(0, 0, false))
	if glance == glanceUnsure {
		return
	}
	want, err := d.Decode(link, data)
	if glance == glanceOther {
		if !errors.Is(err, ErrNotTCP) {
			t.Errorf("%v % x: passed over, want %+v, %v", link, data, want, err)
		}
		return
	}
	l.time = noTime
	if got := l.segment(); err != nil || got != want {
		t.Errorf("%v % x:\ngot  %+v\nwant %+v, %v", link, data, got, want, err)
	}
}

// withStamps gives some segments time stamps in place of payload.
func withStamps(data []byte, random *rand.Rand) []byte {
	if tcp := len(data) - 60; random.IntN(2) == 0 && tcp > 0 && data[tcp+12] == 0x50 {
		data[tcp+12] = 0x80
		copy(data[tcp+20:], "\x01\x01\x08\x0a\x00\x00\x12\x34\x00\x00\x56\x78")
	}
	return data
}

func FuzzWalkAgreesWithDecode(f *testing.F) {
	for _, link := range walkedLinks {
		for _, line := range []string{"A syn-ack 100 901", "B data 5 6 len=40", "A fin 7 8", "B rst 1"} {
			_, data := frame(f, line, link)
			f.Add(uint16(link), data)
			f.Add(uint16(link), data[:len(data)-8])
		}
	}
	for _, data := range tunnelled(f) {
		f.Add(uint16(LinkEthernet), data)
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, link uint16, data []byte) { agree(t, d, LinkType(link), data) })
}

func TestAGlanceFindsWhatDecodingFinds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random, d := rand.New(rand.NewPCG(seed, 0)), NewDecoder()
	for range 200_000 {
		link := walkedLinks[random.IntN(len(walkedLinks))]
		_, data := frame(t, []string{"A syn-ack 100 901", "B data 5 6 len=40", "A ack 7 8"}[random.IntN(3)], link)
		data = withStamps(data, random)
		for range random.IntN(3) {
			data[random.IntN(len(data))] = byte(random.Uint32())
		}
		agree(t, d, link, data[:len(data)-random.IntN(1+len(data)/4)])
	}
}

// sayings are what the ends of a random script say.
var sayings = []string{"syn 100", "syn 200", "syn 900 len=3", "syn-ack 900 101", "syn-ack 900 201", "syn-ack 100 901", "syn-ack 7 101", "ack 101 901", "ack 901 101",
	"data 901 101", "data 101 901", "fin 101 901", "rst-ack 0 101", "rst 101", "rst-ack 0 201", "rst 0", "icmp 100", "ack 5 5"}

func TestTheQuickVerdictIsTheVerdict(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random, quick := rand.New(rand.NewPCG(seed, 0)), map[Verdict]int{}
	for range 20_000 {
		var script []string
		for range 1 + random.IntN(6) {
			script = append(script, string("AB"[random.IntN(2)])+" "+sayings[random.IntN(len(sayings))])
		}
		var a Analyzer
		feedScript(t, &a, 0, script)
		list, _ := a.openings()
		for _, o := range list {
			got, ok := o.shard.openings.at(o.number).quickVerdict()
			if !ok {
				continue
			}
			quick[got]++
			if want := verdictOf(o.shard.expand(o.number)); got != want {
				t.Fatalf("%q: got %v, want %v", script, got, want)
			}
		}
	}
	for _, v := range []Verdict{VerdictThreeWay, VerdictUnanswered, VerdictRefused, VerdictIncomplete} {
		if quick[v] == 0 {
			t.Errorf("no script had the quick verdict %v", v)
		}
	}
}

// manyFlows is a file of several windows: openings of all kinds in turns.
func manyFlows(t testing.TB, flows int) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Interface{Name: "eth0", LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{"A syn 100", "B syn 900", "B syn-ack 900 101", "A syn-ack 100 901", "A ack 101 901", "B data 901 101", "A icmp 100", "B rst-ack 0 101"}
	now := dawn
	for _, line := range lines {
		_, data := frame(t, line, LinkEthernet)
		for i := range flows {
			now = now.Add(1000)
			if data[23] == protocolTCP && (i+len(line))%5 == 0 || data[23] != protocolTCP && i > 10 {
				continue // not every flow has everything
			}
			client := 34
			if line[0] == 'B' {
				client = 36
			}
			if data[23] != protocolTCP {
				client = 34 + 8 + 20
			}
			data[client], data[client+1] = byte(40+i>>8), byte(i)
			if err := w.WritePacket(Packet{Time: now, Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return file.Bytes()
}

func TestTheOutcomeDoesNotDependOnTheNumberOfWorkers(t *testing.T) {
	data := manyFlows(t, 3000)
	analyze := func(processors int) Analysis {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		a, err := Analyze([]Source{{Name: "x", Reader: bytes.NewReader(data)}}, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	one := analyze(1)
	if len(one.Handshakes) != defaultLimit || one.Unlisted == 0 || one.Summary[VerdictSimultaneousOpen] == 0 {
		t.Fatalf("got %d listed, %d not, %v", len(one.Handshakes), one.Unlisted, one.Summary)
	}
	for _, n := range []int{2, 3, 8} {
		if many := analyze(n); !bytes.Equal(marshal(t, one), marshal(t, many)) {
			t.Errorf("%d workers found something else: %v, want %v", n, many.Summary, one.Summary)
		}
	}
}

func TestBatchesHoldWhatNextReturns(t *testing.T) {
	whole := manyFlows(t, 2000)
	for _, data := range [][]byte{whole, whole[:len(whole)-7], captureOf(t, "A syn 1")} {
		want, _, wantErr := drain(data)
		got, err := drainBatches(data)
		if !slices.EqualFunc(got, want, sameArrival) || err.Error() != wantErr.Error() {
			t.Errorf("got %d packets and %v, want %d and %v", len(got), err, len(want), wantErr)
		}
	}
}

func sameArrival(x arrival, y Packet) bool {
	return bytes.Equal(x.data, y.Data) && x.place == y.Interface && x.cut == y.Length-len(y.Data) && x.time == nanosOf(y.Time)
}

func drainBatches(data []byte) (list []arrival, err error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	b := batch{first: 1}
	for {
		if err := r.fill(&b); err != nil {
			return list, err
		}
		for i := range b.records {
			x := b.arrival(i)
			x.data = bytes.Clone(x.data)
			list = append(list, x)
		}
	}
}
