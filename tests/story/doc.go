// Package story holds what users do, as scripts: testdata/*.txtar run the real imagectl and imaged against real
// registries. The commands that the scripts have beside testscript's own stand in commands_test.go.
//
// Nothing imports it.
package story
