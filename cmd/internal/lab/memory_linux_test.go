package lab

import "testing"

func TestProportionalSetSizeIsRead(t *testing.T) {
	const sums = "00400000-7fff0000 ---p 00000000 00:00 0                          [rollup]\nRss:               24576 kB\nPss:               10240 kB\nPss_Dirty:          4096 kB\n"
	for text, want := range map[string]int64{sums: 10 << 20, "": 0, "Rss: 1 kB\nPss: many kB\n": 0} {
		if got := proportional([]byte(text)); got != want {
			t.Errorf("%q: got %d bytes, want %d", text, got, want)
		}
	}
}
