package lab

import "math"

// strays is how many cells of which theory is not certain lie outside their
// 99 % intervals by chance, on the mean, if theory is right in all: the interval is
// not exact, so that of five trials two at 0.037 are already outside.
func strays(cells []MatrixCell) (mean float64) {
	for _, c := range cells {
		if certain(c.Expected) {
			continue
		}
		for k := range c.Summary.Valid + 1 {
			if !within99(c.Expected, k, c.Summary.Valid) {
				mean += binomial(k, c.Summary.Valid, c.Expected)
			}
		}
	}
	return mean
}

// within99 says that a probability lies inside the 99 % interval around k of n.
func within99(p float64, k, n int) bool {
	i := wilsonAt(float64(k), float64(n), z99)
	return p >= i[0] && p <= i[1]
}

// binomial is the probability of k successes in n trials, for 0 < p < 1.
func binomial(k, n int, p float64) float64 {
	gamma := func(n int) float64 { v, _ := math.Lgamma(float64(n + 1)); return v }
	return math.Exp(gamma(n) - gamma(k) - gamma(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
