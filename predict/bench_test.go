package predict

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// What is asked of the package: 1 ms for twelve observations, 10 ms for a plan
// of 2048 SYNs.

func benchmarked() map[string]nat.Config {
	return map[string]nat.Config{
		"sequential": {Ports: nat.Sequential, Churn: 265, ChurnBatch: 4},
		"random":     {Ports: nat.Random},
		"band":       {Ports: nat.Band, Width: 251},
	}
}

func BenchmarkClassifyTwelveObservations(b *testing.B) {
	for name, config := range benchmarked() {
		obs := newNetwork(b, config, rand.New(rand.NewPCG(1, 1))).observe(b, 12)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Classify(obs)
			}
		})
	}
}

func BenchmarkPlan2048SYNs(b *testing.B) {
	for name, config := range benchmarked() {
		obs := newNetwork(b, config, rand.New(rand.NewPCG(1, 1))).observe(b, 12)
		p := Party{Classify(obs), obs[11].Reflexive, time.Second, 0}
		for other, q := range map[string]Party{"itself": p, "a fixed port": {Behavior: eim, Outside: local}} {
			b.Run(fmt.Sprintf("%s × %s", name, other), func(b *testing.B) {
				for b.Loop() {
					NewPlan(p, q, 2048)
				}
			})
		}
	}
}
