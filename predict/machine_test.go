package predict

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Both peers compute the plan, and the probability in it, on machines of their
// own. Compilers fuse x*y + z into one operation with another result where the
// processor has one, so the code of the plan must not let them; nor may it use
// what package math computes differently in assembly.
func TestPlanIsTheSameOnEveryMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package for another machine")
	}
	files := []string{"forecast.go", "plan.go", "direct.go", "sweep.go", "birthday.go", "onepoint.go", "candidates.go", "batches.go"}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "math.") {
			t.Errorf("%s uses package math", name)
		}
	}
	command := exec.Command("go", "build", "-gcflags=-S", "-o", os.DevNull, ".")
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fused := regexp.MustCompile(`\((?:\S*/)?(\w+\.go):(\d+)\)\s+(FN?M(?:ADD|SUB)[SD])`)
	if !strings.Contains(string(out), "FMULD") {
		t.Fatal("the listing shows no multiplication")
	}
	for _, m := range fused.FindAllStringSubmatch(string(out), -1) {
		if slices.Contains(files, m[1]) {
			t.Errorf("%s:%s is fused (%s): round the product first", m[1], m[2], m[3])
		}
	}
}
