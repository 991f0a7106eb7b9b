//! End-to-end tests of conda-release: the built program, run as a user runs it.
