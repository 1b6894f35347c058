package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// jsonFlag is shared by all commands that print a result. Flags keep what was
// parsed, so each command has its own.
func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print one JSON document instead of text"}
}

func newApp() *cli.App {
	app := &cli.App{
		Name:            "tcppunch",
		Usage:           "open TCP connections by simultaneous open, measure the opening and explain it",
		Version:         version(),
		HideHelpCommand: true,
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return err },
		Action:          commandMissing,
		Commands:        commands(),
	}
	prepare(app.Commands)
	return app
}

// prepare gives every command the conventions that urfave/cli does not apply
// by itself: environment variables, usage errors that do not print help to
// stdout, and no silently dropped flags.
func prepare(list []*cli.Command) {
	for _, c := range list {
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
		c.HideHelpCommand = true
		for _, f := range c.Flags {
			nameEnvironment(f)
		}
		if c.Action == nil {
			c.Action = commandMissing
		} else if required := takeRequired(c.Flags); c.Args {
			c.Action = refuseLateFlags(demand(required, c.Action))
		} else {
			c.Action = refuseArguments(demand(required, c.Action))
		}
		prepare(c.Subcommands)
	}
}

// takeRequired lists the flags that must be given, and keeps that from
// urfave/cli, which would print the help to stdout where one is missing.
func takeRequired(flags []cli.Flag) (names []string) {
	for _, f := range flags {
		field := reflect.ValueOf(f).Elem().FieldByName("Required")
		if field.IsValid() && field.Bool() {
			field.SetBool(false)
			names = append(names, f.Names()[0])
		}
	}
	return names
}

func demand(required []string, action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		for _, name := range required {
			if !c.IsSet(name) {
				return usageError("--"+name+" is missing", "see '"+fullName(c)+" --help'")
			}
		}
		return action(c)
	}
}

// nameEnvironment lets TCPPUNCH_<FLAG> stand for a flag. All flag types of
// urfave/cli have the field EnvVars.
func nameEnvironment(f cli.Flag) {
	name := f.Names()[0]
	if name == "help" {
		return
	}
	field := reflect.ValueOf(f).Elem().FieldByName("EnvVars")
	field.Set(reflect.ValueOf([]string{"TCPPUNCH_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}))
}

func commandMissing(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return usageError("name a command", "see '"+fullName(c)+" --help'")
	}
	wrong := c.Args().First()
	hint := "see '" + fullName(c) + " --help'"
	if near := nearest(wrong, commandNames(c)); near != "" {
		hint = "did you mean '" + near + "'? " + hint
	}
	return usageError(fmt.Sprintf("there is no command %q", wrong), hint)
}

func commandNames(c *cli.Context) []string {
	list := c.App.Commands
	if c.Command != nil && len(c.Command.Subcommands) > 0 {
		list = c.Command.Subcommands
	}
	var names, hidden []string
	for _, sub := range list {
		if sub.Hidden {
			hidden = append(hidden, sub.Name)
		} else {
			names = append(names, sub.Name)
		}
	}
	if names == nil {
		return hidden // such as the kinds of craft, which its help lists
	}
	return names
}

// refuseLateFlags rejects a flag that follows a positional argument, which
// urfave/cli would pass on as an argument.
func refuseLateFlags(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		for _, arg := range c.Args().Slice() {
			if len(arg) > 1 && strings.HasPrefix(arg, "-") {
				return usageError(fmt.Sprintf("the flag %s stands after an argument", arg), "put flags first: "+fullName(c)+" "+arg+" …")
			}
		}
		return action(c)
	}
}

func refuseArguments(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return commandMissingOrArgument(c)
		}
		return action(c)
	}
}

func commandMissingOrArgument(c *cli.Context) error {
	if c.Command != nil && len(c.Command.Subcommands) > 0 {
		return commandMissing(c)
	}
	return usageError(fmt.Sprintf("%q is one argument too many", c.Args().First()), "this command takes flags only; see '"+fullName(c)+" --help'")
}

func fullName(c *cli.Context) string { return strings.TrimSpace("tcppunch " + commandPath(c)) }

// commandPath is the command as the user typed it, without the program's name.
func commandPath(c *cli.Context) string {
	var words []string
	for _, l := range c.Lineage() {
		if l.Command != nil && l.Command.Name != "" && l.Command.Name != "tcppunch" {
			words = append(words, l.Command.Name)
		}
	}
	slices.Reverse(words)
	return strings.Join(words, " ")
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	app := newApp()
	app.Metadata = map[string]any{"streams": s}
	app.Reader, app.Writer, app.ErrWriter = s.in, s.out, s.err
	app.ExitErrHandler = func(*cli.Context, error) {}
	err := app.RunContext(ctx, args)
	if err == nil {
		return statusDone
	}
	var quiet exitStatus
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	command, flags := commandOf(app, args)
	f := classify(ctx, explainUsage(err, flags))
	reportFailure(s, command, asksJSON(args), f)
	return f.Status
}

// asksJSON looks at what a command line that cannot be parsed asks for. The
// last --json, -json or --json=BOOL counts, and else the environment.
func asksJSON(args []string) bool {
	asked, _ := strconv.ParseBool(os.Getenv("TCPPUNCH_JSON"))
	for _, arg := range args {
		name, value, given := strings.Cut(arg, "=")
		if name == "--json" || name == "-json" {
			on, err := strconv.ParseBool(value)
			asked = !given || on && err == nil
		}
	}
	return asked
}

// version is that of the module, or the revision that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}

// commandOf finds which command the arguments name, for messages about it.
func commandOf(app *cli.App, args []string) (path string, flags []cli.Flag) {
	list, words := app.Commands, []string(nil)
	for _, arg := range args[1:] {
		i := slices.IndexFunc(list, func(c *cli.Command) bool { return c.HasName(arg) })
		if i < 0 {
			break
		}
		words = append(words, list[i].Name)
		flags, list = list[i].Flags, list[i].Subcommands
	}
	return strings.Join(words, " "), flags
}

// explainUsage turns the errors of urfave/cli's flag parser into usage
// failures with the nearest valid flag.
func explainUsage(err error, flags []cli.Flag) error {
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "flag provided but not defined: "):
		wrong := strings.TrimLeft(strings.TrimPrefix(text, "flag provided but not defined: "), "-")
		f := usageError("there is no flag --"+wrong, "see --help for the flags")
		if near := nearest(wrong, flagNames(flags)); near != "" {
			f.Hint = "did you mean --" + near + "? See --help for the flags"
		}
		return f
	case strings.HasPrefix(text, "flag needs an argument"),
		strings.HasPrefix(text, "invalid value "), strings.HasPrefix(text, "invalid boolean value "),
		strings.HasPrefix(text, "could not parse "), strings.HasPrefix(text, "bad flag syntax"):
		return usageError(text, "see --help for what each flag takes")
	}
	return err
}

func flagNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()...)
	}
	return names
}

// nearest is the word that a mistyped one most likely meant, or "".
func nearest(wrong string, words []string) string {
	best, distance := "", 1+max(1, len(wrong)/2)
	for _, w := range words {
		if d := editDistance(wrong, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
