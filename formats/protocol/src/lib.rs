//! Messages between the server and the keyless inspector, and the client that runs one.
//!
//! The server links this crate and no parser: untrusted genomic bytes are read by the
//! `readvault-inspect` process alone. Here live the request, the verdict, the frames that carry
//! both over two pipes, and [`Inspector`], which starts the process, feeds it and reaps it.

pub mod frame;
mod inspector;
mod request;
mod verdict;

pub use self::{
    inspector::{ByteStream, InspectError, Inspection, Inspector, InspectorSettings},
    request::{EtagFamily, FileType, InspectRequest, Limits, SequenceFact, SourceInfo},
    verdict::{
        Alignment, Container, HeaderFacts, IndexKind, Place, ProgramFact, ReadGroupFact,
        ReferenceSequence, Refusal, SourceSummary, Summary, Verdict,
    },
};
