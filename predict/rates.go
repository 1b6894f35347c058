package predict

import "math"

// weighRates integrates over the rate on a grid around what the gaps suggest,
// and describes the posterior of the rate's logarithm by two halves of normal
// distributions. Few batches leave much room for slower traffic and little for
// faster: a symmetric description would foretell the ports a few too far ahead.
func weighRates(gaps []gap, dispersion float64) (evidence float64, t Traffic) {
	const points = 25
	low, high := rateWindow(gaps, dispersion)
	step := (high - low) / (points - 1)
	density := step / math.Log(fastest/slowest)
	logs := make([]float64, points)
	for i := range logs {
		logs[i] = gapsLikelihood(gaps, math.Exp(low+float64(i)*step), dispersion) + math.Log(density)
	}
	evidence = logSum(logs)
	mean := 0.0
	for i, l := range logs {
		mean += math.Exp(l-evidence) * float64(i) * step
	}
	variance, third := 0.0, 0.0
	for i, l := range logs {
		p, d := math.Exp(l-evidence), float64(i)*step-mean
		variance += p * d * d
		third += p * d * d * d
	}
	mode, below, above := halves(mean, variance, third)
	return evidence, Traffic{Rate: round(math.Exp(low + mode)), Ratio: round(math.Exp(above / 2)), RatioBelow: round(math.Exp(below / 2))}
}

// halves is the split normal distribution with these moments about the mean:
// its mode, and the standard deviations of the halves below and above it. With
// deviations s(1−x) and s(1+x) (John, Communications in Statistics A 11, 1982)
//
//	mean − mode = 2cx·s
//	variance    = (1 + (3−8/π)x²)·s²
//	third       = 2cx(1 + (16/π−5)x²)·s³, c = √(2/π)
//
// so that the skewness grows with x, which bisection finds.
func halves(mean, variance, third float64) (mode, below, above float64) {
	const steepest = 0.9 // neither half vanishes
	if variance <= 0 {
		return mean, 0, 0
	}
	c, skewness := math.Sqrt(2/math.Pi), third/math.Pow(variance, 1.5)
	spread := func(x float64) float64 { return math.Sqrt(1 + (3-8/math.Pi)*x*x) }
	low, high := -steepest, steepest
	for range 30 {
		x := (low + high) / 2
		if 2*c*x*(1+(16/math.Pi-5)*x*x) < skewness*math.Pow(spread(x), 3) {
			low = x
		} else {
			high = x
		}
	}
	s := math.Sqrt(variance) / spread(low)
	return mean - 2*c*low*s, s * (1 - low), s * (1 + low)
}

// rateWindow is where the logarithm of the rate may be: the variance of the
// number of arrivals k is dispersion·k, so that of its logarithm is
// dispersion/k. The tail towards slow traffic is the longer one.
func rateWindow(gaps []gap, dispersion float64) (low, high float64) {
	seconds, number := 1e-4, 0.0
	for _, g := range gaps {
		if g.number >= 0 {
			seconds += g.seconds
			number += float64(g.number)
		}
	}
	bottom, top := math.Log(slowest), math.Log(fastest)
	if len(gaps) == 0 {
		return bottom, top
	}
	centre := math.Log((number + 0.5) / seconds)
	wide := 3.5 * math.Sqrt(dispersion/(number+0.25))
	low = min(max(centre-1.5*wide, bottom), top-0.1)
	return low, min(max(centre+min(wide, 4), low+0.1), top)
}
