package predict

import (
	"net/netip"
	"time"

	"tcppunch/predict/nat"
)

// Party is one side as a plan sees it: what its offer says, and when.
type Party struct {
	Behavior Behavior
	Outside  netip.AddrPort // as the last observation saw the port that will punch
	Gap      time.Duration  // from that observation to the burst
	Spent    int            // mappings that this side made in between, each of which took a port
}

// A forecast is what is known of the ports of a side's next mappings, as a
// mixture. Only arithmetic that IEEE 754 defines to the last bit is used.
type forecast struct {
	parts     []part
	addresses float64 // equally likely outside addresses
	seen      []uint16
}

// A part is one model. Exactly one of the three is set.
type part struct {
	weight float64
	run    *run
	pool   *pool
	kept   bool // the port is the one that was seen
}

// A run are ports that follow one another: the next mapping gets the port with
// index J, the one after it J+1, and so on. Index 0 is what comes after the last
// port seen. Foreign mappings in between make J uncertain.
type run struct {
	last  uint16
	delta int
	first []float64 // probability that J is the index
	sums  []float64 // sums[i] = Σ first[:i]
	thin  float64   // probability that no foreign mapping takes an index within a burst
}

// port is the port with an index. It wraps as 16 bits do.
func (r *run) port(index int) uint16 { return r.last + uint16((index+1)*r.delta) }

// index is the inverse of port, for ports that are ahead.
func (r *run) index(port uint16) (int, bool) {
	d := int(port) - int(r.last)
	if d*r.delta < 0 {
		d += sign(r.delta) << 16
	}
	if d == 0 || d%r.delta != 0 {
		return 0, false
	}
	return d/r.delta - 1, true
}

// mass is the probability that J is in [from, to].
func (r *run) mass(from, to int) float64 {
	from, to = max(from, 0), min(to, len(r.first)-1)
	if from > to {
		return 0
	}
	return r.sums[to+1] - r.sums[from]
}

// A pool is a range from which ports are drawn.
type pool struct {
	inner, outer span // what was seen, and the likely range
	step         int  // 2: only ports as odd or even as those seen
	widths       []Width
}

// spacing is the time between two SYNs of a burst: what a socket costs to make,
// bind and connect.
const spacing = 10 * time.Microsecond

// forecastOf predicts the mappings of a side's burst. A side that does not
// depend on the destination has a single part.
func forecastOf(p Party) forecast {
	ports := p.Behavior.Ports
	f := forecast{addresses: float64(addresses(p.Behavior)), seen: ports.Seen}
	total, counted := 0.0, -1
	for _, m := range ports.Posterior {
		shared := counts(m.Model) && m.Parameters.absent()
		if shared && counted >= 0 { // sequential ports and the lowest free ones are foretold alike
			f.parts[counted].weight += m.Probability
			total += m.Probability
			continue
		}
		if x, ok := partOf(m, p); ok && m.Probability > 0 {
			if shared {
				counted = len(f.parts)
			}
			f.parts = append(f.parts, x)
			total += m.Probability
		}
	}
	if total == 0 {
		user := span{1024, 65535}
		f.parts = []part{{weight: 1, pool: &pool{user, user, 1, []Width{{user.width(), 1}}}}}
		return f
	}
	for i := range f.parts {
		f.parts[i].weight /= total
	}
	return f
}

func partOf(m Model, p Party) (part, bool) {
	seen := p.Behavior.Ports.Seen
	m.Parameters = p.Behavior.Ports.parameters(m)
	x := part{weight: m.Probability}
	switch {
	case m.Model == nat.Preserving:
		x.kept = true
		return x, true
	case len(seen) == 0:
		return x, false
	case counts(m.Model) && m.Parameters.Delta != 0:
		x.run = newRun(seen[len(seen)-1], m.Parameters, p.Gap, p.Spent)
		return x, true
	case draws(m.Model) && len(m.Parameters.Widths) > 0:
		x.pool = newPool(m, seen)
		return x, true
	}
	return x, false
}

func newPool(m Model, seen []uint16) *pool {
	p := &pool{inner: span{seen[0], seen[0]}, step: 1, widths: m.Parameters.Widths}
	for _, port := range seen {
		p.inner.low, p.inner.high = min(p.inner.low, port), max(p.inner.high, port)
	}
	p.outer = p.inner
	if m.Parameters.Low > 0 {
		p.outer = span{min(m.Parameters.Low, p.inner.low), max(m.Parameters.High, p.inner.high)}
	}
	if m.Model == nat.Parity {
		p.step = 2
	}
	return p
}

// newRun predicts J at the end of the gap.
func newRun(last uint16, p Parameters, gap time.Duration, spent int) *run {
	seconds := float64(max(gap, 0)) / 1e9
	r := &run{last: last + uint16(spent*p.Delta), delta: p.Delta}
	rate, total := 0.0, 0.0
	for _, t := range p.Traffic {
		r.first = mixIn(r.first, t, seconds)
		rate += float64(t.Weight * t.Rate)
		total += t.Weight
	}
	if total == 0 {
		r.first, total = []float64{1}, 1
	}
	r.sums = make([]float64, len(r.first)+1)
	for i := range r.first {
		r.first[i] /= total
		r.sums[i+1] = r.sums[i] + r.first[i]
	}
	r.thin = 1 / (1 + float64(rate/total*spacing.Seconds()))
	return r
}

// The rate of a Traffic is spread over Rate·Ratio^z and Rate/RatioBelow^z for
// these z, which are half a standard deviation apart, with the weights of a
// normal distribution: e^(−z²/8), which sum to 5.0065 on both sides together.
var normal = [...]float64{1, 0.8824969025845955, 0.6065306597126334, 0.32465246735834974, 0.1353352832366127, 0.04393693362340742, 0.011108996538242306}

const normalSum = 1 + 2*(0.8824969025845955+0.6065306597126334+0.32465246735834974+0.1353352832366127+0.04393693362340742+0.011108996538242306)

// mixIn adds one possibility of the traffic to a distribution of arrivals. The
// halves of the rate's distribution weigh as their deviations.
func mixIn(sum []float64, t Traffic, seconds float64) []float64 {
	above, below := logarithm(t.Ratio), logarithm(t.below())
	if t.Rate == 0 || above+below == 0 {
		return mixArrivals(sum, t.Weight, float64(t.Rate*seconds), t.Dispersion)
	}
	above, below = 2*above/(above+below), 2*below/(above+below)
	faster, slower := t.Rate, t.Rate
	for z, w := range normal {
		w *= t.Weight / normalSum
		if z == 0 {
			sum = mixArrivals(sum, w, float64(t.Rate*seconds), t.Dispersion)
			continue
		}
		faster *= t.Ratio
		slower /= t.below()
		sum = mixArrivals(sum, w*above, float64(faster*seconds), t.Dispersion)
		sum = mixArrivals(sum, w*below, float64(slower*seconds), t.Dispersion)
	}
	return sum
}

// logarithm is the natural one, within 1 % up to 3 (its Padé approximant), and
// to the last bit the same on every machine.
func logarithm(x float64) float64 {
	square := float64(x * x)
	return 3 * (square - 1) / (square + float64(4*x) + 1)
}

// mixArrivals adds weight times the distribution of arrivals to sum. It needs
// none but the four operations, since it finds e^−θ as what makes the whole 1.
func mixArrivals(sum []float64, weight, mean, dispersion float64) []float64 {
	const (
		negligible = 1e-12
		most       = 16384 // foreign mappings; more are not worth a plan
		huge       = 1e200
	)
	if mean > most {
		return sum
	}
	b := newBatches(mean, dispersion)
	list := make([]float64, 1, 64)
	list[0] = 1
	total := 1.0
	for b.n < 2*most && (float64(b.n) < mean || b.p > float64(negligible*total)) {
		b.next()
		if b.p > huge {
			b.scale(1 / huge)
			total /= huge
			for i := range list {
				list[i] /= huge
			}
		}
		list = append(list, b.p)
		total += b.p
	}
	unit := weight / total
	for len(sum) < len(list) {
		sum = append(sum, 0)
	}
	for i, p := range list {
		sum[i] += float64(p * unit)
	}
	return sum
}
