//! Whether records come in coordinate order.

/// Watches reference id and position of each record.
#[derive(Default)]
pub(super) struct OrderWatch {
    last: Option<(u32, i32)>,
    /// Number of the first record that is out of order.
    pub(super) first_unsorted: Option<u64>,
    /// Records that name a reference sequence.
    pub(super) placed_count: u64,
}

impl OrderWatch {
    /// Sees record `number`. Unplaced records sort last: their id, −1, is the greatest unsigned.
    pub(super) fn see(&mut self, number: u64, reference_id: i32, position: i32) {
        let key = (reference_id.cast_unsigned(), position);
        self.placed_count += u64::from(reference_id >= 0);
        // Unplaced records have no order among themselves.
        let unsorted = self.last.is_some_and(|last| key < last && reference_id >= 0);
        if unsorted && self.first_unsorted.is_none() {
            self.first_unsorted = Some(number);
        }
        self.last = Some(key);
    }
}
