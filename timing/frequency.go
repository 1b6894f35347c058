package timing

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// regressionSamples is from how many samples on their scatter says how well
// the slope is known; before that only the bounds do.
const regressionSamples = 8

// frequency is how fast the reference runs against the local timescale, in
// parts per million: the slope of the offsets of one server over time. It is
// nil while it is not known better than PHI.
//
// The path may be asymmetric, as long as it stays so. Samples count less the
// longer they were held up on the way.
func frequency(samples []Sample) *float64 {
	if len(samples) < 2 {
		return nil
	}
	slope, doubt := slopeOf(samples)
	if len(samples) < regressionSamples {
		slope, doubt = slopeOfEnds(samples)
	}
	if !(doubt <= phi) {
		return nil
	}
	return &slope
}

// slopeOfEnds goes from the first to the last sample; the bounds of both are
// certain.
func slopeOfEnds(samples []Sample) (ppm, doubt float64) {
	a, b := samples[0], samples[len(samples)-1]
	span := b.Destination.Sub(a.Destination)
	if span <= 0 {
		return 0, math.Inf(1)
	}
	bounds := a.Bound(a.Destination) + b.Bound(b.Destination)
	return float64(b.Offset()-a.Offset()) / float64(span) * 1e6, float64(bounds) / float64(span) * 1e6
}

// slopeOf is the weighted least squares line, with the 99 % half-width of its
// slope from the residuals.
func slopeOf(samples []Sample) (ppm, doubt float64) {
	weights := promptness(samples)
	first := samples[0]
	x := func(s Sample) float64 { return s.Destination.Sub(first.Destination).Seconds() }
	y := func(s Sample) float64 { return float64(s.Offset()-first.Offset()) / 1e3 } // µs, so that the slope is in ppm
	var sum, sx, sy float64
	for i, s := range samples {
		sum, sx, sy = sum+weights[i], sx+weights[i]*x(s), sy+weights[i]*y(s)
	}
	mx, my := sx/sum, sy/sum
	var sxx, sxy, squares float64
	for i, s := range samples {
		sxx += weights[i] * (x(s) - mx) * (x(s) - mx)
		sxy += weights[i] * (x(s) - mx) * (y(s) - my)
	}
	ppm = sxy / sxx
	for i, s := range samples {
		r := y(s) - my - ppm*(x(s)-mx)
		squares += weights[i] * r * r
	}
	freedom := len(samples) - 2
	return ppm, student99(freedom) * math.Sqrt(squares/float64(freedom)/sxx)
}

// promptness weighs samples by how little longer than the quickest they took,
// against the median of that.
func promptness(samples []Sample) []float64 {
	delays := make([]time.Duration, len(samples))
	for i, s := range samples {
		delays[i] = s.Delay()
	}
	sorted := slices.Sorted(slices.Values(delays))
	least := sorted[0]
	usual := cmp.Or(sorted[len(sorted)/2]-least, 1)
	weights := make([]float64, len(samples))
	for i, d := range delays {
		r := float64(usual) / float64(usual+d-least)
		weights[i] = r * r
	}
	return weights
}
