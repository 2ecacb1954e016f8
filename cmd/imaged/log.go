package main

import (
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// setUpLog sends everything, the libraries' lines too, to w.
func setUpLog(level string, w io.Writer) error {
	l, err := logrus.ParseLevel(level)
	if err != nil {
		return fmt.Errorf("%w: log level %q: it is none of error, warn, info, debug", errUsage, level)
	}
	logrus.SetLevel(l)
	logrus.SetOutput(w)
	logrus.SetFormatter(redacted{&logrus.TextFormatter{DisableColors: true, FullTimestamp: true}})
	if os.Getenv("JOURNAL_STREAM") != "" {
		logrus.SetFormatter(journal{redacted{&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true}}})
	}
	return nil
}

// redacted takes credentials out of all lines: the libraries log addresses as they got them.
type redacted struct{ logrus.Formatter }

// Format implements logrus.Formatter.
func (r redacted) Format(e *logrus.Entry) ([]byte, error) {
	line, err := r.Formatter.Format(e)
	return []byte(errdefs.RedactLine(string(line))), err
}

// journal writes lines as journald reads them from a service: with their priority in front, without the time.
type journal struct{ logrus.Formatter }

// priorities are syslog's by logrus's levels.
var priorities = map[logrus.Level]int{
	logrus.PanicLevel: 2, logrus.FatalLevel: 2, logrus.ErrorLevel: 3, logrus.WarnLevel: 4, logrus.InfoLevel: 6,
}

// Format implements logrus.Formatter.
func (j journal) Format(e *logrus.Entry) ([]byte, error) {
	priority, ok := priorities[e.Level]
	if !ok {
		priority = 7
	}
	line, err := j.Formatter.Format(e)
	return append(fmt.Appendf(nil, "<%d>", priority), line...), err
}
