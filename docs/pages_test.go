package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are the README and all documents, by path.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("*.md")
	if err != nil || len(list) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	return append(list, "../README.md")
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}

func TestREADMELeadsToEveryPage(t *testing.T) {
	readme := read(t, "../README.md")
	for _, page := range pages(t) {
		if page != "../README.md" && !strings.Contains(readme, "](docs/"+page+")") {
			t.Errorf("README.md does not lead to docs/%s", page)
		}
	}
	for _, command := range []string{"go run ./cmd/tcppunch lab", "go test ./..."} {
		if !strings.Contains(readme, command) {
			t.Errorf("README.md does not have the command %q", command)
		}
	}
}

// TestExamplesUseFlagsThatExist looks at each tcppunch command in the shell
// blocks of all pages.
func TestExamplesUseFlagsThatExist(t *testing.T) {
	commands := map[string]helped{}
	for _, c := range walk(t, program(t)) {
		commands[strings.Join(c.path, " ")] = c
	}
	n := 0
	for _, page := range pages(t) {
		for _, example := range examples(read(t, page)) {
			n++
			path, flags := splitExample(example, commands)
			if path == "" {
				t.Errorf("%s: there is no such command: tcppunch %s", page, strings.Join(example, " "))
			}
			for _, f := range flags {
				if f != "help" && !slices.ContainsFunc(commands[path].flags, func(o option) bool { return o.name == f }) {
					t.Errorf("%s: tcppunch %s has no flag --%s", page, path, f)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("found %d examples, want more", n)
	}
}

// examples are the words after each "tcppunch" that is a command in a shell
// block, up to the end of that command.
func examples(page string) [][]string {
	var list [][]string
	for i, block := range strings.Split(page, "```") {
		body, isShell := strings.CutPrefix(block, "sh\n")
		if i%2 == 0 || !isShell {
			continue
		}
		body = strings.ReplaceAll(body, "\\\n", " ")
		for line := range strings.Lines(body) {
			line, _, _ = strings.Cut(line, " #")
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n()'=;", r) })
			for j, w := range words {
				before := ""
				if j > 0 {
					before = words[j-1]
				}
				if (w == "tcppunch" || w == "./cmd/tcppunch") && before != "build" && !strings.HasPrefix(words[0], "#") {
					if end := slices.IndexFunc(words[j:], func(w string) bool { return strings.ContainsAny(w, "|<>") }); end > 0 {
						list = append(list, words[j+1:j+end])
					} else {
						list = append(list, words[j+1:])
					}
				}
			}
		}
	}
	return slices.DeleteFunc(list, func(words []string) bool { return len(words) == 0 })
}

// splitExample finds the longest command that the words begin with, and the
// names of the flags among them.
func splitExample(words []string, commands map[string]helped) (path string, flags []string) {
	for i := range words {
		if _, ok := commands[strings.Join(words[:i+1], " ")]; ok {
			path = strings.Join(words[:i+1], " ")
		}
	}
	for _, w := range words {
		if name, ok := strings.CutPrefix(w, "--"); ok {
			flags = append(flags, name)
		}
	}
	return path, flags
}

func TestTestingPageHasEveryFuzzTarget(t *testing.T) {
	named := rows(sections(read(t, "testing.md"))["Fuzzing"])
	target := regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9]+)\(`)
	n := 0
	for dir := range packages(t) {
		files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			for _, m := range target.FindAllStringSubmatch(read(t, f), -1) {
				n++
				if !strings.Contains(named[m[1]], "`"+dir+"`") {
					t.Errorf("testing.md does not have the fuzz target %s of %s", m[1], dir)
				}
			}
		}
	}
	if n < 3 {
		t.Errorf("found %d fuzz targets, want more", n)
	}
}
