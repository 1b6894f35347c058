package timingtest

import (
	"context"
	"net"
	"testing"
	"time"
)

func TestStampWrapsAtTheEndOfTheEra(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want uint64
	}{
		{time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), 0},
		{time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), 2208988800 << 32},
		{time.Date(1970, 1, 1, 0, 0, 0, 500_000_000, time.UTC), 2208988800<<32 | 1<<31},
		{time.Date(2036, 2, 7, 6, 28, 15, 999_999_999, time.UTC), 1<<64 - 5},
		{time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC), 0},
		{time.Date(2036, 2, 7, 6, 28, 17, 250_000_000, time.UTC), 1<<32 | 1<<30},
	} {
		if got := stamp(c.at); got != c.want {
			t.Errorf("%v: got %#x, want %#x", c.at, got, c.want)
		}
	}
}

func TestShortFormat(t *testing.T) {
	for d, want := range map[time.Duration]uint32{0: 0, time.Second: 1 << 16, 250 * time.Millisecond: 1 << 14, 20 * time.Second: 20 << 16} {
		if got := short(d); got != want {
			t.Errorf("%v: got %#x, want %#x", d, got, want)
		}
	}
}

func TestOnlyClientRequestsAreAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		first byte
		size  int
		want  bool
	}{
		"version 4 client": {4<<3 | 3, size, true},
		"version 3 client": {3<<3 | 3, size, true},
		"with extensions":  {4<<3 | 3, size + 20, true},
		"server answer":    {4<<3 | 4, size, false},
		"version 0":        {3, size, false},
		"version 5":        {5<<3 | 3, size, false},
		"short":            {4<<3 | 3, size - 1, false},
		"empty":            {0, 0, false},
	} {
		b := make([]byte, c.size)
		if c.size > 0 {
			b[0] = c.first
		}
		if _, ok := parseRequest(b); ok != c.want {
			t.Errorf("%s: accepted %v, want %v", name, ok, c.want)
		}
	}
}

func TestServeEndsWithItsContextAndAnsweringGoroutines(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("udp4", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := &Server{ReplyDelay: time.Hour}
	go func() { done <- s.Serve(ctx, conn) }()
	request := make([]byte, size)
	request[0] = 4<<3 | 3
	if _, err := client.Write(request); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
