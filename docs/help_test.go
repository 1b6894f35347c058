package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// read is a document of this directory, by its name.
func read(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// program is the path of the built command.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tcppunch.exe") // Windows wants the ending, others do not mind
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/tcppunch").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// helped is a command as --help shows it.
type helped struct {
	path  []string
	flags []option
}

type option struct{ name, variable string }

var (
	commandLine = regexp.MustCompile(`^   ([a-z-]+)(?:, [a-z-]+)*  +\S`)
	flagLine    = regexp.MustCompile(`^   --?([a-z-]+)(?:, -[a-z])?\b.*$`)
	variable    = regexp.MustCompile(`\[\$([A-Z0-9_]+)\]`)
)

// walk asks a command and all its visible subcommands for help.
func walk(t *testing.T, program string, path ...string) []helped {
	t.Helper()
	out, err := exec.Command(program, append(slices.Clone(path), "--help")...).Output()
	if err != nil {
		t.Fatalf("tcppunch %s --help: %v", strings.Join(path, " "), err)
	}
	here := helped{path: path}
	all := []helped{}
	section := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " ") {
			section = line
			continue
		}
		if m := flagLine.FindStringSubmatch(line); m != nil && strings.HasSuffix(section, "OPTIONS:") && m[1] != "help" {
			o := option{name: m[1]}
			if v := variable.FindStringSubmatch(line); v != nil {
				o.variable = v[1]
			}
			here.flags = append(here.flags, o)
		}
		if m := commandLine.FindStringSubmatch(line); m != nil && section == "COMMANDS:" {
			all = append(all, walk(t, program, append(slices.Clone(path), m[1])...)...)
		}
	}
	return append(all, here)
}

// sections are the parts of a document under headings of the second level, by
// heading.
func sections(document string) map[string]string {
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+document, "\n## ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		parts[heading] = body
	}
	return parts
}

// rows are the first cells of a part's tables, without backquotes.
func rows(part string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(part) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			found[strings.Trim(strings.TrimSpace(cells[1]), "`")] = line
		}
	}
	return found
}

func TestCLIPageHasEveryCommandAndFlag(t *testing.T) {
	parts := sections(read(t, "cli.md"))
	commands := walk(t, program(t))
	if len(commands) < 8 {
		t.Fatalf("--help showed %d commands, want more", len(commands))
	}
	for _, c := range commands {
		if len(c.path) == 0 {
			continue
		}
		name := "tcppunch " + strings.Join(c.path, " ")
		part, ok := parts[name]
		if !ok {
			t.Errorf("cli.md has no section %q", name)
			continue
		}
		table := rows(part)
		for _, f := range c.flags {
			row, ok := table["--"+f.name]
			if !ok {
				t.Errorf("cli.md, %s: --%s is missing", name, f.name)
			} else if !strings.Contains(row, "`"+f.variable+"`") {
				t.Errorf("cli.md, %s: the row of --%s does not name %s", name, f.name, f.variable)
			}
		}
		for first := range table {
			flag, isFlag := strings.CutPrefix(first, "--")
			if isFlag && !strings.HasPrefix(first, "---") && !slices.ContainsFunc(c.flags, func(o option) bool { return o.name == flag }) {
				t.Errorf("cli.md, %s: there is no flag --%s", name, flag)
			}
		}
	}
	for heading := range parts {
		command, isCommand := strings.CutPrefix(heading, "tcppunch ")
		if isCommand && !slices.ContainsFunc(commands, func(c helped) bool { return strings.Join(c.path, " ") == command }) {
			t.Errorf("cli.md describes %q, which --help does not show", heading)
		}
	}
}

func TestCLIPageHasEveryExitStatus(t *testing.T) {
	part := sections(read(t, "cli.md"))["Exit statuses"]
	n := 0
	for name, value := range constants(t, "../cmd/tcppunch/status.go", token.INT) {
		n++
		row := rows(part)[value]
		if !strings.Contains(row, "`"+name+"`") {
			t.Errorf("cli.md: the table of exit statuses has no row for %s = %s", name, value)
		}
	}
	if n < 5 {
		t.Errorf("status.go has %d statuses, want more", n)
	}
}

func TestCLIPageHasEveryErrorKind(t *testing.T) {
	part := sections(read(t, "cli.md"))["Exit statuses"]
	files, err := filepath.Glob("../cmd/tcppunch/*.go")
	if err != nil {
		t.Fatal(err)
	}
	kind := regexp.MustCompile(`Kind: +"([a-z-]+)"`)
	words := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range kind.FindAllStringSubmatch(read(t, f), -1) {
			words[m[1]] = true
		}
	}
	if len(words) < 5 {
		t.Fatalf("found %d kinds of errors, want more", len(words))
	}
	for w := range words {
		if !strings.Contains(part, "`"+w+"`") {
			t.Errorf("cli.md: the error kind %s is missing", w)
		}
	}
}

// constants are the constants of a file with a literal value, by name.
func constants(t *testing.T, path string, kind token.Token) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			spec := s.(*ast.ValueSpec)
			for i, value := range spec.Values {
				if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == kind {
					text := lit.Value
					if kind == token.STRING {
						text, _ = strconv.Unquote(text)
					}
					found[spec.Names[i].Name] = text
				}
			}
		}
	}
	return found
}
