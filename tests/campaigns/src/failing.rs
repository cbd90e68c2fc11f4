//! Operations that fail, and a record of what is on the disk then.

use std::sync::Arc;

use readvault_store::disk::observed::{Observer, Operation, Verdict};

use crate::{faults::Faults, journal::Journal};

/// Fails what `faults` says and writes down what happened nevertheless.
#[derive(Debug)]
pub struct Failing {
    /// What fails.
    pub faults: Arc<Faults>,
    /// What happened.
    pub journal: Arc<Journal>,
}

impl Observer for Failing {
    fn begin(&self, operation: &Operation<'_>) -> Verdict {
        let verdict = self.faults.begin(operation);
        match (verdict, *operation) {
            (Verdict::Go(_), _) => return self.journal.begin(operation),
            (Verdict::Fail(_), Operation::Sync(path)) => self.journal.failed_sync(path),
            (Verdict::Short(some), Operation::Write { path, offset, bytes }) => {
                let bytes = &bytes[..some.min(bytes.len())];
                let part = Operation::Write { path, offset, bytes };
                if let Verdict::Go(ticket) = self.journal.begin(&part) {
                    self.journal.end(&part, ticket);
                }
            }
            _ => {}
        }
        verdict
    }

    fn end(&self, operation: &Operation<'_>, ticket: u64) {
        self.journal.end(operation, ticket);
    }
}
