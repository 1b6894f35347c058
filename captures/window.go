package captures

import (
	"errors"
	"fmt"
	"io"
)

// Sizes of a window in bytes. It begins small, for the many files that are, and
// stays small enough for a processor's cache, where it is for the workers.
const (
	firstWindow = 64 << 10
	fullWindow  = 256 << 10
)

// window is the part of a file that is in memory. Data is handed out where it
// lies; files are read rather than mapped, since a mapped file that another
// process shortens kills the reader (SIGBUS), and mapped pages count as memory.
type window struct {
	in       io.Reader
	buffer   []byte
	pos, end int   // of what is read and not consumed
	before   int64 // bytes of the file before buffer[0]
	ended    error // why in gives no more; io.EOF at its end

	// swap, where set, is given a buffer that is still being used elsewhere and
	// returns another one of the given length at least.
	swap func(used []byte, length int) []byte
}

// offset is how much of the file was consumed.
func (w *window) offset() int64 { return w.before + int64(w.pos) }

// ahead returns what comes next without consuming it: n bytes at least, unless
// the file ends before.
func (w *window) ahead(n int) []byte {
	if w.end-w.pos < n && w.ended == nil {
		w.load(n)
	}
	return w.buffer[w.pos:w.end]
}

// load moves the window until it holds n unread bytes.
func (w *window) load(n int) {
	w.move(n)
	for empty := 0; w.end < n && w.ended == nil; {
		got, err := w.in.Read(w.buffer[w.end:])
		w.end += got
		if empty++; got > 0 {
			empty = 0
		}
		if err == nil && empty > 100 {
			err = io.ErrNoProgress
		}
		w.ended = err
	}
}

// move makes room. A window that was read to its brim belongs to a large file.
func (w *window) move(n int) {
	length := len(w.buffer)
	switch {
	case length == 0:
		length = firstWindow
	case w.end == length:
		length = fullWindow
	}
	length = max(length, n)
	rest := w.buffer[w.pos:w.end]
	switch {
	case w.swap != nil:
		w.buffer = w.swap(w.buffer, length)
	case length > len(w.buffer):
		w.buffer = make([]byte, length)
	}
	copy(w.buffer, rest)
	w.before += int64(w.pos)
	w.pos, w.end = 0, len(rest)
}

// discard passes over n bytes without holding them, and says how many there
// were.
func (w *window) discard(n int64) int64 {
	left := n
	for left > 0 {
		data := w.ahead(1)
		if len(data) == 0 {
			break
		}
		step := min(left, int64(len(data)))
		w.pos += int(step)
		left -= step
	}
	return n - left
}

func (w *window) cutShort() error { return fmt.Errorf("%w at byte %d", ErrCutShort, w.offset()) }

// endOf is the error of a window that ended within what should follow, of
// which some is there.
func (w *window) endOf(some []byte) error {
	switch {
	case errors.Is(w.ended, ErrCutShort), errors.Is(w.ended, ErrMalformed):
		return fmt.Errorf("%w, at byte %d of what it holds", w.ended, w.offset())
	case !errors.Is(w.ended, io.EOF):
		return fmt.Errorf("read capture at byte %d: %w", w.offset(), w.ended)
	case len(some) > 0:
		return w.cutShort()
	}
	return io.EOF
}
