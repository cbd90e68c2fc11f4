//! Any bytes as the text of a SAM header.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = readvault_formats::sam_header::parse(bytes);
});
