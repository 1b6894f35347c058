package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// streams are the three standard streams. stdout carries the result and
// nothing else; everything that is said on the way goes to stderr.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

func streamsOf(c *cli.Context) streams { return c.App.Metadata["streams"].(streams) }

// say prints one line of talk to stderr.
func (s streams) say(format string, args ...any) {
	fmt.Fprintf(s.err, format+"\n", args...)
}

// printJSON writes one document with its schema as the first field. v must
// marshal to a JSON object.
func printJSON(w io.Writer, schema string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", schema, err)
	}
	rest := strings.TrimPrefix(string(body), "{")
	if rest != "}" {
		rest = "," + rest
	}
	_, err = fmt.Fprintf(w, "{\"schema\":%q%s\n", schema, rest)
	return err
}

// schemaOf names the JSON document of a command: tcppunch.<command>/1. The
// benchmarks share one, and so do the kinds of craft.
func schemaOf(command string) string {
	switch {
	case command == "":
		command = "tcppunch"
	case strings.HasPrefix(command, "lab bench "):
		command = "lab bench"
	case strings.HasPrefix(command, "craft "):
		command = "craft"
	}
	return "tcppunch." + strings.ReplaceAll(command, " ", "-") + "/1"
}

// result prints v as JSON where --json was given, and otherwise what text
// writes.
func result(c *cli.Context, v any, text func(io.Writer) error) error {
	out := streamsOf(c).out
	if c.Bool("json") {
		return printJSON(out, schemaOf(commandPath(c)), v)
	}
	return text(out)
}

// reportFailure tells a failure: one sentence and a hint on stderr, and the
// error object on stdout where the arguments asked for JSON.
func reportFailure(s streams, command string, asJSON bool, f *failure) {
	name := strings.TrimSpace("tcppunch " + command)
	s.say("%s: %s", name, f.Message)
	if f.Hint != "" {
		s.say("%s", f.Hint)
	}
	if asJSON {
		printJSON(s.out, schemaOf(command), map[string]any{"error": f})
	}
}
