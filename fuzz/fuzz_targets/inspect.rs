//! Any bytes, as one source of any type. A panic is a finding, though the process would catch it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use readvault_inspect_protocol::{InspectRequest, Limits, SourceInfo};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { container_bytes_max: 64 << 20, ..Limits::default() };
    let sources = vec![SourceInfo::default()];
    let request = InspectRequest { sources, limits, ..InspectRequest::default() };
    let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
    readvault_formats::inspect(&request, vec![input]).expect("memory can be read");
});
