package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// options are what `testbed up` was told.
type options struct {
	dir           string
	audit         auditLevel
	azure         bool
	noCapsule     bool
	exitWithStdin bool
	apiserverArgs repeated
}

func parseOptions(args []string) (*options, error) {
	o := &options{audit: "Metadata"}
	flags := flag.NewFlagSet("testbed up", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "directory for everything; created if missing")
	flags.Var(&o.audit, "audit", "level of the audit log: None, Metadata (default), Request, RequestResponse")
	flags.BoolVar(&o.azure, "azure", false, "authenticate and authorize by webhooks as a managed Azure cluster does")
	flags.BoolVar(&o.noCapsule, "no-capsule", false, "a plain cluster: neither the Capsule definitions nor the operator")
	flags.BoolVar(&o.exitWithStdin, "exit-with-stdin", false, "end when standard input ends")
	flags.Var(&o.apiserverArgs, "apiserver-arg", "further argument of kube-apiserver; repeatable")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.dir == "" {
		return nil, errors.New("--dir is missing")
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	o.dir, err = filepath.Abs(o.dir)
	return o, err
}

// auditLevel is a flag that may stand alone, for the default.
type auditLevel string

func (l *auditLevel) String() string   { return string(*l) }
func (l *auditLevel) IsBoolFlag() bool { return true }

func (l *auditLevel) Set(value string) error {
	if value == "true" {
		value = "Metadata"
	}
	levels := []string{"None", "Metadata", "Request", "RequestResponse"}
	i := slices.IndexFunc(levels, func(level string) bool { return strings.EqualFold(level, value) })
	if i < 0 {
		return fmt.Errorf("there are %s", strings.Join(levels, ", "))
	}
	*l = auditLevel(levels[i])
	return nil
}

// repeated is a flag that may be given several times.
type repeated []string

func (r *repeated) String() string { return strings.Join(*r, " ") }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}
