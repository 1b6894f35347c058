package docs

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestArchitecturePageHasTheImportGraph compares the page's list with the one
// that the source is held to.
func TestArchitecturePageHasTheImportGraph(t *testing.T) {
	graph := map[string][]string{}
	for line := range strings.Lines(sections(read(t, "architecture.md"))["Who may import whom"]) {
		dir, list, isEdge := strings.Cut(strings.TrimSpace(line), "→")
		if !isEdge {
			continue
		}
		imports := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		graph[strings.TrimSpace(dir)] = imports
	}
	for dir, want := range mayImport {
		got, ok := graph[dir]
		if !ok {
			t.Errorf("architecture.md does not list %s", dir)
			continue
		}
		slices.Sort(got)
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("architecture.md: %s imports %v, want %v", dir, got, want)
		}
	}
	for dir := range graph {
		if _, ok := mayImport[dir]; !ok {
			t.Errorf("architecture.md lists %s, which the graph does not have", dir)
		}
	}
}

func TestArchitecturePageGivesEveryPackageItsPlace(t *testing.T) {
	page := read(t, "architecture.md")
	for dir := range packages(t) {
		if !strings.Contains(page, "| `"+dir+"` |") {
			t.Errorf("architecture.md does not say what %s holds", dir)
		}
	}
}

// TestArchitecturePageGivesAReasonForEveryDependency finds the module of every
// package that the source imports; go.mod's remarks alone may be out of date.
func TestArchitecturePageGivesAReasonForEveryDependency(t *testing.T) {
	part := sections(read(t, "architecture.md"))["Dependencies"]
	required, direct := requirements(t)
	for _, pkg := range packages(t) {
		for _, path := range pkg.Imports {
			if m := moduleOf(path, required); m != "" && !slices.Contains(direct, m) {
				direct = append(direct, m)
			}
		}
	}
	if len(direct) < 4 {
		t.Fatalf("found %d dependencies, want more", len(direct))
	}
	named := rows(part)
	for _, m := range direct {
		if _, ok := named[m]; !ok {
			t.Errorf("architecture.md gives no reason for %s", m)
		}
	}
	for m := range named {
		if strings.Contains(m, "/") && !slices.Contains(direct, m) {
			t.Errorf("architecture.md gives a reason for %s, which nothing imports", m)
		}
	}
}

// requirements are the modules of go.mod: all of them, and those that it does
// not mark as indirect.
func requirements(t *testing.T) (all, direct []string) {
	t.Helper()
	body, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "v") || !strings.Contains(fields[0], ".") {
			continue
		}
		all = append(all, fields[0])
		if !strings.Contains(line, "// indirect") {
			direct = append(direct, fields[0])
		}
	}
	return all, direct
}

// moduleOf is the module of an imported package, or "".
func moduleOf(path string, modules []string) string {
	for _, m := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			return m
		}
	}
	return ""
}
