//go:build !linux

package lab

import (
	"context"
	"net/netip"
	"time"
)

// BenchLaunch needs Linux.
func BenchLaunch(context.Context, BenchConfig, func(string)) (BenchDocument, error) {
	return BenchDocument{}, errPlatform
}

// BenchBurst needs Linux.
func BenchBurst(context.Context, BurstConfig) (BurstDocument, error) {
	return BurstDocument{}, errPlatform
}

// BenchSameHost needs Linux.
func BenchSameHost(context.Context, SameHostConfig, func(string)) (SameHostDocument, error) {
	return SameHostDocument{}, errPlatform
}

// BenchEmulator needs Linux.
func BenchEmulator(context.Context, EmulatorConfig, func(string)) (EmulatorDocument, error) {
	return EmulatorDocument{}, errPlatform
}

// BenchCraft needs Linux.
func BenchCraft(context.Context, CraftConfig) (CraftDocument, error) {
	return CraftDocument{}, errPlatform
}

// PinThread needs Linux.
func PinThread() error { return errPlatform }

// BareBurst needs Linux.
func BareBurst(_, _ netip.AddrPort, _ int) (time.Duration, error) { return 0, errPlatform }

// CraftedBurst needs Linux.
func CraftedBurst(_, _ netip.AddrPort, _ int) (time.Duration, error) { return 0, errPlatform }

// BenchCaptures needs Linux.
func BenchCaptures(context.Context, CapturesConfig, func(string)) (CapturesDocument, error) {
	return CapturesDocument{}, errPlatform
}
