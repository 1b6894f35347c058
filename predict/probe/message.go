package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pion/stun/v3"
)

// MaxMessage is the longest message, header included, that ReadMessage
// accepts, in bytes. A Binding exchange needs a few hundred; RFC 8489 limits
// its longest attributes (USERNAME, REALM, SOFTWARE) to 763 bytes each.
const MaxMessage = 2048

const headerSize = 20 // RFC 8489 section 5

// What ReadMessage refuses.
var (
	ErrNotSTUN = errors.New("not a STUN message")
	ErrTooLong = errors.New("STUN message too long")
)

// ReadMessage reads exactly one STUN message from a stream, never more bytes
// than it has and never more than MaxMessage. It returns io.EOF only before
// the first byte. A codec that reads once would lose segments that arrive
// split or joined.
func ReadMessage(r io.Reader) (*stun.Message, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	if !stun.IsMessage(header) || header[0]&0xC0 != 0 || header[3]&3 != 0 {
		return nil, ErrNotSTUN
	}
	size := headerSize + int(binary.BigEndian.Uint16(header[2:4]))
	if size > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLong, size, MaxMessage)
	}
	m := &stun.Message{Raw: make([]byte, size)}
	copy(m.Raw, header)
	if _, err := io.ReadFull(r, m.Raw[headerSize:]); err != nil {
		return nil, unexpected(err)
	}
	if err := m.Decode(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSTUN, err)
	}
	return m, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
