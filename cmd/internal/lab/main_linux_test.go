package lab

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"tcppunch/rawsock/netlab/netlabtest"
)

// The real binary is built once, by the process that `go test` starts. That
// process runs the tests as a child, so that it can remove the binary.
const (
	binaryVariable = "LABTEST_BINARY"
	failedVariable = "LABTEST_BUILD_FAILED"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(binaryVariable); path != "" {
		nodeProgram = path
		// Meetings wait most of the time. The flag still overrides this.
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
		netlabtest.Main(m)
	}
	os.Exit(withBinary())
}

func withBinary() int {
	runtime.LockOSThread() // Pdeathsig follows the thread
	dir, err := os.MkdirTemp("", "labtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755) // tests run it as other users too
	path := filepath.Join(dir, "tcppunch")
	failed := ""
	if out, err := exec.Command("go", "build", "-o", path, "tcppunch/cmd/tcppunch").CombinedOutput(); err != nil {
		failed = fmt.Sprintf("%v\n%s", err, out)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), binaryVariable+"="+path, failedVariable+"="+failed)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return 1
	}
	return 0
}

// command is the path of the real binary.
func command(t testing.TB) string {
	t.Helper()
	netlabtest.Require(t)
	if failed := os.Getenv(failedVariable); failed != "" {
		t.Fatalf("go build: %s", failed)
	}
	return os.Getenv(binaryVariable)
}
