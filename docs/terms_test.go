package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tcppunch/captures"
	"tcppunch/predict/nat"
	"tcppunch/timing"
)

// defines reports a word that terms.md does not have, marked as code.
func defines(t *testing.T, page, what, word string) {
	t.Helper()
	if !strings.Contains(page, "`"+word+"`") {
		t.Errorf("terms.md does not define the %s %q", what, word)
	}
}

func TestTermsDefineEveryVerdict(t *testing.T) {
	page := read(t, "terms.md")
	for v := captures.VerdictUnknown; v <= captures.VerdictIncomplete; v++ {
		defines(t, page, "verdict", v.String())
	}
	for v := timing.Truechimer; !strings.HasPrefix(v.String(), "verdict "); v++ {
		defines(t, page, "time server's verdict", v.String())
	}
}

func TestTermsDefineEveryNATWord(t *testing.T) {
	page := read(t, "terms.md")
	for m := nat.EndpointIndependent; m <= nat.AddressOrPort; m++ {
		defines(t, page, "mapping", m.String())
	}
	for f := nat.FilterEndpointIndependent; f <= nat.FilterAddressAndPortDependent; f++ {
		defines(t, page, "filtering", f.String())
	}
	for p := nat.Preserving; p <= nat.Random; p++ {
		defines(t, page, "port assignment", p.String())
	}
	for u := nat.Drop; u <= nat.Unreachable; u++ {
		defines(t, page, "answer to the unsolicited", u.String())
	}
}

// TestTermsDefineEveryWordOfAMeeting reads the words from the source, so that a
// new one cannot be forgotten.
func TestTermsDefineEveryWordOfAMeeting(t *testing.T) {
	page := read(t, "terms.md")
	for _, from := range []struct{ dir, kind string }{
		{"../cmd/internal/punch", "Cause"}, {"../cmd/internal/punch", "Outcome"}, {"../cmd/internal/punch", "Trust"},
		{"../cmd/internal/rendezvous", "CandidateKind"},
	} {
		words := typedConstants(t, from.dir, from.kind)
		if len(words) == 0 {
			t.Errorf("%s has no constants of type %s", from.dir, from.kind)
		}
		for _, w := range words {
			defines(t, page, from.kind, w)
		}
	}
}

// typedConstants are the values of a package's string constants of a type.
func typedConstants(t *testing.T, dir, kind string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == kind {
				for _, value := range spec.Values {
					if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						word, _ := strconv.Unquote(lit.Value)
						found = append(found, word)
					}
				}
			}
			return true
		})
	}
	return found
}
