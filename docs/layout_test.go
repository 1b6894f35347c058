package docs

import (
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "tcppunch"

// mayImport is the import graph of architecture.md: the packages of ours that a
// package may import, directly. Tests may import more.
var mayImport = map[string][]string{
	"rawsock":                   {},
	"rawsock/netlab":            {},
	"rawsock/netlab/netlabtest": {"rawsock/netlab"},
	"timing":                    {},
	"timing/timingtest":         {},
	"predict":                   {"predict/nat"},
	"predict/nat":               {},
	"predict/probe":             {"predict", "predict/nat"},
	"captures":                  {},
	"cmd/internal/rendezvous":   {"predict", "predict/nat", "predict/probe", "timing"},
	"cmd/internal/punch":        {"captures", "cmd/internal/rendezvous", "predict", "predict/nat", "predict/probe", "timing"},
	"cmd/internal/report":       {"captures", "cmd/internal/punch", "predict", "timing"},
	"cmd/internal/lab":          {"captures", "cmd/internal/punch", "cmd/internal/report", "predict", "predict/nat", "rawsock/netlab", "timing", "timing/timingtest"},
	"cmd/tcppunch": {"captures", "cmd/internal/lab", "cmd/internal/punch", "cmd/internal/rendezvous", "cmd/internal/report",
		"predict", "predict/nat", "predict/probe", "rawsock", "timing", "timing/timingtest"},
	"docs": {},
}

func TestPackagesImportOnlyWhatTheGraphAllows(t *testing.T) {
	for dir, pkg := range packages(t) {
		allowed, known := mayImport[dir]
		if !known {
			t.Errorf("package %s is not in the graph of architecture.md", dir)
			continue
		}
		for _, path := range pkg.Imports {
			ours, isOurs := strings.CutPrefix(path, module+"/")
			if isOurs && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which the graph does not allow", dir, ours)
			}
		}
	}
}

func TestEveryPackageOfTheGraphExists(t *testing.T) {
	found := packages(t)
	for dir := range mayImport {
		if found[dir] == nil {
			t.Errorf("the graph names %s, which is not there", dir)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for dir := range packages(t) {
		if n := packageComments(t, filepath.Join("..", dir)); n != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, n)
		}
	}
}

func TestRootHoldsNothingElse(t *testing.T) {
	allowed := []string{"cmd", "rawsock", "timing", "predict", "captures", "docs", "go.mod", "go.sum", "README.md"}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) && !ignored(e.Name()) {
			t.Errorf("the root holds %s", e.Name())
		}
	}
}

// ignored names what .gitignore keeps out: results that a user of the checkout
// makes.
func ignored(name string) bool {
	body, err := os.ReadFile("../.gitignore")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(body), "\n") {
		if ok, _ := filepath.Match(strings.TrimPrefix(line, "/"), name); ok && line != "" {
			return true
		}
	}
	return false
}

func TestTheFixedDependenciesAreUsed(t *testing.T) {
	wanted := map[string]bool{"github.com/google/gopacket": false, "github.com/beevik/ntp": false, "golang.org/x/sys": false, "github.com/urfave/cli/v2": false}
	for _, pkg := range packages(t) {
		for _, path := range pkg.Imports {
			for module := range wanted {
				if path == module || strings.HasPrefix(path, module+"/") {
					wanted[module] = true
				}
			}
		}
	}
	for module, used := range wanted {
		if !used {
			t.Errorf("%s is required, but no package uses it", module)
		}
	}
}

// packages finds all packages as they build for Linux, by directory.
func packages(t *testing.T) map[string]*build.Package {
	t.Helper()
	context := build.Default
	context.GOOS = "linux"
	found := map[string]*build.Package{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != ".." && (strings.HasPrefix(name, ".") || name == "testdata") {
			return fs.SkipDir
		}
		pkg, err := context.ImportDir(path, 0)
		if _, none := err.(*build.NoGoError); none {
			return nil
		}
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", path)
		found[filepath.ToSlash(dir)] = pkg
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func packageComments(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		file, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if file.Doc != nil && !strings.HasSuffix(f, "_test.go") {
			n++
		}
	}
	return n
}
