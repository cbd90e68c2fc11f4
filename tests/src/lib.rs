//! Whole-system tests with real clients over a real server.
