// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// Values of the flag --output.
const (
	formatText = "text"
	formatJSON = "json"
	formatYAML = "yaml"
)

// Result is the result of a verb. JSON and YAML contain its fields. Text renders the
// same fields and contains no other information.
type Result interface {
	// Text returns the result for a terminal. The first line is the verdict, and the
	// last line is the next command.
	Text() string
	// Declared reports whether the state is as declared.
	Declared() bool
}

// Drawn is a result with formats that only its verb has.
type Drawn interface {
	Result
	// Draw returns the result in such a format.
	Draw(format string) (string, error)
}

// CheckFormat returns an error if --output is neither a format of all verbs nor one of
// the formats of the verb.
func (p *Plugin) CheckFormat(own ...string) error {
	formats := append([]string{formatText, formatJSON, formatYAML}, own...)
	if slices.Contains(formats, p.output) {
		return nil
	}
	last := len(formats) - 1
	return fmt.Errorf("invalid output format %q: must be %s or %s", p.output, strings.Join(formats[:last], ", "), formats[last])
}

// IsText reports whether the output is text.
func (p *Plugin) IsText() bool { return p.output == formatText }

// Finish prints the result. It returns ErrDiffers if the state is not as declared.
func (p *Plugin) Finish(r Result) error {
	text, err := p.format(r)
	if err != nil {
		return err
	}
	if _, err := p.Out.Write([]byte(text)); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	if !r.Declared() {
		return ErrDiffers
	}
	return nil
}

func (p *Plugin) format(r Result) (string, error) {
	switch p.output {
	case formatJSON:
		out, err := json.MarshalIndent(r, "", "  ")
		return string(out) + "\n", err
	case formatYAML:
		out, err := yaml.Marshal(r)
		return string(out), err
	case formatText:
	default:
		if d, ok := r.(Drawn); ok {
			return d.Draw(p.output)
		}
	}
	text := r.Text()
	if p.color() {
		text = colored(text, r.Declared())
	}
	return text, nil
}

// color reports whether the output is a terminal that displays colors. The variable
// NO_COLOR disables them. (no-color.org.)
func (p *Plugin) color() bool {
	file, ok := p.Out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// colored colors the verdict: green if the state is as declared, and red otherwise.
func colored(text string, declared bool) string {
	code := "31"
	if declared {
		code = "32"
	}
	verdict, rest, _ := strings.Cut(text, "\n")
	return "\x1b[" + code + "m" + verdict + "\x1b[0m\n" + rest
}
