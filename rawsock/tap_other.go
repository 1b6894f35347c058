//go:build !linux

package rawsock

import "github.com/google/gopacket"

// Tap is a live capture. On this system none can be opened.
type Tap struct{}

// OpenTap always fails with errors.ErrUnsupported.
func OpenTap(TapConfig) (*Tap, error) { return nil, errPlatform }

// LinkType is not available on this system.
func (*Tap) LinkType() uint16 { return 0 }

// SnapLen is not available on this system.
func (*Tap) SnapLen() int { return 0 }

// Next is not available on this system.
func (*Tap) Next() (Frame, error) { return Frame{}, errPlatform }

// Buffered is not available on this system.
func (*Tap) Buffered() int { return 0 }

// ReadPacketData is not available on this system.
func (*Tap) ReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	return nil, gopacket.CaptureInfo{}, errPlatform
}

// ZeroCopyReadPacketData is not available on this system.
func (*Tap) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	return nil, gopacket.CaptureInfo{}, errPlatform
}

// Stats is not available on this system.
func (*Tap) Stats() (packets, drops uint64) { return 0, 0 }

// Stop does nothing.
func (*Tap) Stop() {}

// Close does nothing.
func (*Tap) Close() error { return nil }
