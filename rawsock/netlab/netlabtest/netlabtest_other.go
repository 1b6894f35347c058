//go:build !linux

package netlabtest

import (
	"runtime"
	"testing"
)

func run(m *testing.M) int {
	missing = "network namespaces need Linux, this is " + runtime.GOOS
	return m.Run()
}
