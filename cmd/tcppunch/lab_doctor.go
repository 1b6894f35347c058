package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labDoctorCommand() *cli.Command {
	return &cli.Command{
		Name:   "doctor",
		Usage:  "tell what this machine allows for the lab, and the command that mends each lack",
		Flags:  []cli.Flag{jsonFlag()},
		Action: labDoctor,
	}
}

type labHealth struct {
	Ready  bool        `json:"ready"`
	Checks []lab.Check `json:"checks"`
}

// labDoctor has the supervisor examine the machine from inside. The supervisor
// always answers in JSON; the process that the user started shows it.
func labDoctor(c *cli.Context) error {
	var answer bytes.Buffer
	err := lab.SuperviseInto(c.Context, &answer, func(context.Context) error {
		return json.NewEncoder(streamsOf(c).out).Encode(lab.Examine())
	})
	if lab.Inside() {
		return err
	}
	checks, err := labChecks(answer.Bytes(), err)
	if err != nil {
		return err
	}
	health := labHealth{Ready: lab.Ready(checks), Checks: checks}
	if err := result(c, health, func(w io.Writer) error { return writeHealth(w, health) }); err != nil {
		return err
	}
	if !health.Ready {
		return exitStatus(statusUnavailable)
	}
	return nil
}

// labChecks reads the supervisor's answer, or says why there was none.
func labChecks(answer []byte, err error) ([]lab.Check, error) {
	if missing, ok := errors.AsType[*lab.Unavailable](err); ok {
		return lab.Missing(missing), nil
	}
	var checks []lab.Check
	if bad := json.Unmarshal(answer, &checks); bad != nil {
		return nil, errors.Join(err, fmt.Errorf("read the supervisor's findings: %w", bad))
	}
	return checks, nil
}

func writeHealth(w io.Writer, h labHealth) error {
	for _, c := range h.Checks {
		mark := "ok     "
		switch {
		case !c.OK && c.Required:
			mark = "missing"
		case !c.OK:
			mark = "without"
		}
		fmt.Fprintf(w, "%s  %-16s  %s\n", mark, c.Name, c.Found)
		if c.Mend != "" {
			fmt.Fprintf(w, "         %-16s  mend it: %s\n", "", c.Mend)
		}
	}
	if h.Ready {
		_, err := fmt.Fprintln(w, "\nThe lab can run here.")
		return err
	}
	_, err := fmt.Fprintln(w, "\nThe lab cannot run here.")
	return err
}
