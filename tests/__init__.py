"""The tests: a package by name, so that no other package named tests is taken for it."""
