//! Tests of the whole: what holds across rooms (`tests/tidy.rs`), and a real server with real clients
//! (`system/`, in Python, run by `scripts/test`).
