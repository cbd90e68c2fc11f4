//! Named limits, and how much of each is in use.

/// One limit, for the metrics of an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Its name.
    pub name: &'static str,
    /// How much is in use now.
    pub used: u64,
    /// How much may be.
    pub limit: u64,
}

impl Usage {
    /// `used` of `limit`.
    #[must_use]
    pub fn new(name: &'static str, used: usize, limit: usize) -> Self {
        Self { name, used: used as u64, limit: limit as u64 }
    }
}
