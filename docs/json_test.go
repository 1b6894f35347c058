package docs

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tcppunch/captures"
)

// documented are the types whose fields stand in JSON documents, by directory;
// none named means all that have field names for JSON.
var documented = map[string][]string{
	"../captures":           nil,
	"../timing":             {"Estimate", "Server"},
	"../predict":            {"Observation", "Behavior", "Ports", "PortProbability", "Model", "Parameters", "Width", "Traffic", "Plan", "Side"},
	"../predict/probe":      {"Report", "Unknown", "Failure", "Prospect"},
	"../cmd/internal/punch": nil,
	"../cmd/internal/lab": {"Document", "Trial", "Summary", "Quantiles", "Mapping", "Profile", "Check", "Matrix", "Strategies", "StrategyCell", "StrategyWin", "MatrixCell", "MatrixSummary", "Weighted",
		"BenchDocument", "BenchMachine", "BenchCondition", "BenchResult", "Percentiles", "BurstConfig", "BurstDocument", "BurstTimes",
		"CraftConfig", "CraftDocument", "CraftTimes",
		"EmulatorDocument", "EmulatorDelay", "EmulatorRate"},
	"../rawsock":      {"Privileges"},
	"../cmd/tcppunch": nil,
}

func TestJSONPageHasEveryField(t *testing.T) {
	page := read(t, "json.md")
	for dir, types := range documented {
		fields := jsonFields(t, dir, types)
		if len(fields) == 0 {
			t.Errorf("%s has no fields for JSON", dir)
		}
		for field, where := range fields {
			if !strings.Contains(page, "`"+field+"`") {
				t.Errorf("json.md does not have the field %s of %s", field, where)
			}
		}
	}
}

// jsonFields are the JSON names of the fields of a package's types, with the
// type that has each.
func jsonFields(t *testing.T, dir string, types []string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && (types == nil || slices.Contains(types, spec.Name.Name)) {
				for _, name := range tags(s) {
					found[name] = dir + "." + spec.Name.Name
				}
			}
			return true
		})
	}
	return found
}

func tags(s *ast.StructType) []string {
	var names []string
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		text, _ := strconv.Unquote(f.Tag.Value)
		name, _, _ := strings.Cut(reflect.StructTag(text).Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// TestJSONPageDescribesRealDocuments runs commands, and looks for each field of
// what they print under the heading of its schema.
func TestJSONPageDescribesRealDocuments(t *testing.T) {
	parts := sections(read(t, "json.md"))
	command := program(t)
	for _, args := range [][]string{
		{"analyze", "--json", openingFile(t)},
		{"lab", "profiles", "--json"},
		{"lab", "doctor", "--json"},
		{"meet", "--json", "--peer", "127.0.0.1:9", "--at", "1", "--secret-file", "none"},
	} {
		document := run(t, command, args...)
		schema, _ := document["schema"].(string)
		part, ok := parts[schema]
		if !ok {
			t.Errorf("%v: json.md has no section %q", args, schema)
			continue
		}
		if _, failed := document["error"]; failed {
			part += read(t, "json.md")
		}
		for _, key := range keys(document) {
			if key != "schema" && !strings.Contains(part, "`"+key+"`") {
				t.Errorf("%v: json.md does not have the field %s", args, key)
			}
		}
	}
}

// TestJSONPageHasEveryFieldOfAMeetingInTheLab takes the document with the most
// fields from a real meeting, where the machine allows one.
func TestJSONPageHasEveryFieldOfAMeetingInTheLab(t *testing.T) {
	page := read(t, "json.md")
	document := run(t, program(t), "lab", "run", "--json")
	if failure, failed := document["error"]; failed {
		if os.Getenv("TCPPUNCH_TEST") == "require-lab" {
			t.Fatalf("TCPPUNCH_TEST=require-lab, but %v", failure)
		}
		t.Skipf("no lab here: %v", failure)
	}
	list := keys(document)
	if !slices.Contains(list, "attempts") {
		t.Error("the document holds no meeting")
	}
	for _, key := range list {
		if !strings.Contains(page, "`"+key+"`") {
			t.Errorf("json.md does not have the field %s", key)
		}
	}
}

// run executes a command that may fail, and decodes its document.
func run(t *testing.T, command string, args ...string) map[string]any {
	t.Helper()
	out, err := exec.Command(command, args...).Output()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(out, &document); err != nil {
		t.Fatalf("%v printed no document: %v\n%s", args, err, out)
	}
	return document
}

// keys are the names of all fields in a document. Objects that count words
// have words for names, and those stand in terms.md.
func keys(v any) []string {
	var list []string
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			list = append(list, key)
			if key != "verdicts" && key != "causes" && !isTally(inner) {
				list = append(list, keys(inner)...)
			}
		}
	case []any:
		for _, inner := range v {
			list = append(list, keys(inner)...)
		}
	}
	return list
}

// isTally recognises an object that counts verdicts.
func isTally(v any) bool {
	object, ok := v.(map[string]any)
	for key := range object {
		var verdict captures.Verdict
		ok = ok && verdict.UnmarshalText([]byte(key)) == nil
	}
	return ok && len(object) > 0
}

// openingFile is a capture that holds a SYN and the RST that answers it.
func openingFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "opening.pcapng")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o600))
	if err != nil {
		t.Fatal(err)
	}
	w, err := captures.NewWriter(f, captures.Interface{Name: "test", LinkType: captures.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	const syn, rstAck = 0x02, 0x14
	for _, data := range [][]byte{segment(1, 2, 1000, 2000, 7, 0, syn), segment(2, 1, 2000, 1000, 0, 8, rstAck)} {
		if err := w.WritePacket(captures.Packet{Data: data, Length: len(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// segment is an IPv4 packet between 192.0.2.x hosts with a bare TCP header.
func segment(from, to byte, fromPort, toPort uint16, seq, ack uint32, flags byte) []byte {
	ip := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, from, 192, 0, 2, to}
	tcp := []byte{byte(fromPort >> 8), byte(fromPort), byte(toPort >> 8), byte(toPort),
		byte(seq >> 24), byte(seq >> 16), byte(seq >> 8), byte(seq), byte(ack >> 24), byte(ack >> 16), byte(ack >> 8), byte(ack),
		5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0}
	return append(ip, tcp...)
}
