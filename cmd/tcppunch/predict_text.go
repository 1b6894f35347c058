package main

import (
	"bufio"
	"fmt"
	"io"
	"math"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// printPrediction says for people what the document says.
func printPrediction(w io.Writer, p prediction) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s of %s, mapping %s\n", plural(p.Observed, "observation"), p.Outside, p.Mapping)
	fmt.Fprintf(out, "ports: %s\n", describePorts(p.Ports))
	for _, m := range p.Ports.Posterior {
		fmt.Fprintf(out, "  %-12s %6.2f %%\n", m.Model, 100*m.Probability)
	}
	if len(p.Ports.Next) > 0 {
		fmt.Fprintf(out, "next port, %s after the last observation:\n", p.Gap)
		for _, n := range p.Ports.Next {
			fmt.Fprintf(out, "  %-12d %s\n", n.Port, likelihood(n.Probability))
		}
	}
	fmt.Fprintf(out, "with %s, both sides' together:\n", plural(p.Budget, "SYN"))
	for _, plan := range p.Plans {
		fmt.Fprintf(out, "  %s\n", describePlan(plan))
	}
	return out.Flush()
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// likelihood keeps small probabilities legible.
func likelihood(p float64) string {
	if p > 0 && p < 0.001 {
		return fmt.Sprintf("%.2g %%", 100*p)
	}
	return fmt.Sprintf("%6.2f %%", 100*p)
}

func describePorts(p predict.Ports) string {
	x := p.Parameters
	switch p.Model {
	case nat.Preserving:
		return "as inside"
	case nat.Sequential, nat.Lowest:
		return fmt.Sprintf("%s, a step of %d, %s", p.Model, x.Delta, describeTraffic(x.Traffic))
	case nat.Random, nat.Band, nat.Block, nat.Parity:
		return fmt.Sprintf("%s, one of about %d, from about %d to %d", p.Model, expectedPorts(x.Widths), x.Low, x.High)
	}
	return "not known well enough to name"
}

// describeTraffic gives the mean rate of foreign mappings.
func describeTraffic(list []predict.Traffic) string {
	rate, batches := 0.0, 0.0
	for _, t := range list {
		rate += t.Weight * t.Rate
		if t.Dispersion > 1 {
			batches += t.Weight
		}
	}
	switch {
	case rate < 2:
		return "hardly any foreign mapping in between"
	case batches > 0.5:
		return fmt.Sprintf("with about %.0f foreign mappings a second in between, in batches", rate)
	}
	return fmt.Sprintf("with about %.0f foreign mappings a second in between", rate)
}

func expectedPorts(list []predict.Width) int {
	inverse, total := 0.0, 0.0
	for _, w := range list {
		inverse += w.Weight / float64(max(w.Ports, 1))
		total += w.Weight
	}
	if inverse == 0 {
		return 0
	}
	return int(math.Round(total / inverse))
}

func describePlan(p peerPlan) string {
	peer := "a peer whose port is known"
	if p.Peer == sameNAT {
		peer = "a peer behind a NAT like this"
	}
	if p.Probability < hopelessBelow {
		return fmt.Sprintf("%-30s hopeless, p = %.2g", peer, p.Probability)
	}
	return fmt.Sprintf("%-30s %s by %s: %s here, %d there", peer, likelihood(p.Probability), p.Method, plural(p.A.SYNs, "SYN"), p.B.SYNs)
}
