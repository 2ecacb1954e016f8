package service

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
)

// systemdService is io.systemd.service.
type systemdService struct{ log *logrus.Logger }

// Ping answers.
func (systemdService) Ping(context.Context, systemdservice.PingIn) (systemdservice.PingOut, error) {
	return systemdservice.PingOut{}, nil
}

// levels are logrus's levels by those of syslog.
var levels = []logrus.Level{
	logrus.PanicLevel, logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel, logrus.InfoLevel, logrus.InfoLevel,
	logrus.DebugLevel,
}

// SetLogLevel sets what is logged from now on.
func (s systemdService) SetLogLevel(_ context.Context, in systemdservice.SetLogLevelIn) (systemdservice.SetLogLevelOut, error) {
	if in.Level < 0 || in.Level >= int64(len(levels)) {
		return systemdservice.SetLogLevelOut{}, &varlink.InvalidParameterError{Parameter: "level"}
	}
	s.log.SetLevel(levels[in.Level])
	return systemdservice.SetLogLevelOut{}, nil
}

// secret matches names of variables that tend to hold one.
var secret = regexp.MustCompile(`(?i)pass|secret|token|key|cred|auth|cookie`)

// GetEnvironment tells the daemon's environment. A proxy's address may hold a password too.
func (systemdService) GetEnvironment(context.Context, systemdservice.GetEnvironmentIn) (systemdservice.GetEnvironmentOut, error) {
	environment := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, text, _ := strings.Cut(v, "=")
		return secret.MatchString(name) || strings.Contains(text, "@")
	})
	return systemdservice.GetEnvironmentOut{Environment: environment}, nil
}
