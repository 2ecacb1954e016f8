// Package tests holds the tests of what crosses layers. Nothing imports it.
package tests
