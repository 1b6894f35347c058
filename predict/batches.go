package predict

// batches is the recursion of arrivals, in units of P(0).
type batches struct {
	theta, rho float64
	n          int
	p          float64 // P(n)
	a, s       float64 // Σ ρ^(k−1) P(n−k), Σ k ρ^(k−1) P(n−k)
}

func newBatches(mean, dispersion float64) batches {
	size := (max(dispersion, 1) + 1) / 2
	return batches{theta: mean / size, rho: 1 - 1/size, p: 1}
}

// next goes on to n+1. Products are rounded before they are added.
func (b *batches) next() {
	b.n++
	b.a = b.p + float64(b.rho*b.a)
	b.s = b.a + float64(b.rho*b.s)
	b.p = b.theta * (1 - b.rho) / float64(b.n) * b.s
}

// scale multiplies all probabilities.
func (b *batches) scale(by float64) {
	b.p *= by
	b.a *= by
	b.s *= by
}
