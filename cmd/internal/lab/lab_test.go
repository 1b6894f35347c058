package lab

import (
	"testing"

	"tcppunch/rawsock/netlab/netlabtest"
)

func TestMain(m *testing.M) { netlabtest.Main(m) }
