package main

import (
	"os"
	"testing"
)

// asCommand is set for processes of the test binary that are to be the command
// itself.
const asCommand = "TCPPUNCH_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Unsetenv(asCommand)
		main()
	}
	os.Exit(m.Run())
}
