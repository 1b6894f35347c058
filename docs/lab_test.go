package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestLabPageHasEveryProfile(t *testing.T) {
	page := read(t, "lab.md")
	document := run(t, program(t), "lab", "profiles", "--json")
	list, _ := document["profiles"].([]any)
	if len(list) == 0 {
		t.Fatal("lab profiles lists none")
	}
	named := rows(sections(page)["Profiles"])
	for _, p := range list {
		name, _ := p.(map[string]any)["name"].(string)
		if _, ok := named[name]; !ok {
			t.Errorf("lab.md does not have the profile %q", name)
		}
	}
}

func TestLabPageHasEveryAddress(t *testing.T) {
	page := read(t, "lab.md")
	address := regexp.MustCompile(`MustParse(?:Addr|Prefix)\("([^"]+)"\)`)
	n := 0
	for _, m := range address.FindAllStringSubmatch(read(t, "../cmd/internal/lab/scenario.go"), -1) {
		servers := strings.HasPrefix(m[1], "192.0.2.1") && m[1] != "192.0.2.1" || strings.HasSuffix(m[1], "::10") || strings.HasSuffix(m[1], "::123")
		if servers || strings.HasPrefix(m[1], "192.168.") && strings.Count(m[1], ".111.")+strings.Count(m[1], ".222.") > 0 {
			n++
			if !strings.Contains(page, m[1]) {
				t.Errorf("lab.md does not have the address %s", m[1])
			}
		}
	}
	if n < 5 {
		t.Errorf("found %d addresses, want more", n)
	}
}

// TestLabPageHasEveryMendingCommand takes every text in the source that asks
// for root to change the machine.
func TestLabPageHasEveryMendingCommand(t *testing.T) {
	page := read(t, "lab.md")
	n := 0
	for _, path := range []string{"../cmd/internal/lab/supervisor_linux.go", "../cmd/internal/lab/doctor_linux.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			lit, ok := node.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if command, _ := strconv.Unquote(lit.Value); strings.HasPrefix(command, "sudo ") {
				n++
				if !strings.Contains(page, "`"+command+"`") {
					t.Errorf("lab.md does not have the command %q", command)
				}
			}
			return true
		})
	}
	if n < 5 {
		t.Errorf("found %d commands, want more", n)
	}
}
