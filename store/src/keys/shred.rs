//! Shred slots: the erasable half of every item key (`docs/format.md` §6.3).

use std::{io, path::Path, sync::Arc};

use parking_lot::Mutex;
use readvault_ambient::Entropy;
use zeroize::Zeroizing;

use crate::{
    Error, ErrorKind, Result,
    disk::{Disk, DiskFile, open_or_make, write_all_at},
    error,
    seal::{Reader, SecretKey, ShredSecret},
};

/// Bytes of one slot: secret, u64 number, u8 state, zeros, CRC32C of all before.
pub const SLOT_BYTES: usize = 64;

/// Slots that are filled and synced at once, before the first of them is allotted.
pub const SLOTS_AHEAD: u64 = 2048;

const STATE_FILLED: u8 = 1;
const STATE_DESTROYED: u8 = 2;

/// The slots of one vault, in two copies. One process at a time.
///
/// A start never allots a slot that existed before it: so none is ever used twice, though which
/// were allotted is written nowhere.
#[derive(Debug)]
pub struct ShredSlots {
    files: [Box<dyn DiskFile>; 2],
    entropy: Arc<dyn Entropy>,
    next: Mutex<Next>,
}

#[derive(Debug)]
struct Next {
    allot: u64,
    filled: u64,
}

/// A slot as one copy holds it.
enum Slot {
    Filled(ShredSecret),
    Destroyed,
    Unreadable,
}

impl ShredSlots {
    /// Opens the slots at `path` and their copy at `copy`; makes either when it is not there.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        copy: &Path,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let open = |path| open_or_make(disk, path).map_err(error::io("shred slots"));
        let files = [open(path)?, open(copy)?];
        let mut bytes = 0;
        for file in &files {
            bytes = bytes.max(file.length().map_err(error::io("shred slots"))?);
        }
        let filled = bytes.div_ceil(SLOT_BYTES as u64);
        Ok(Self { files, entropy, next: Mutex::new(Next { allot: filled, filled }) })
    }

    /// Allots a slot that is durable in both copies. Costs a sync once in [`SLOTS_AHEAD`] calls.
    ///
    /// # Errors
    /// `NoSpace`, `Unavailable`.
    pub fn allot(&self) -> Result<u64> {
        let mut next = self.next.lock();
        if next.allot == next.filled {
            // Slots of a filling that fails are passed over: what is on the disk is not known.
            next.filled += SLOTS_AHEAD;
            let filled = self.fill(next.allot..next.filled);
            if filled.is_err() {
                next.allot = next.filled;
            }
            filled.map_err(error::io("filling shred slots"))?;
        }
        next.allot += 1;
        Ok(next.allot - 1)
    }

    /// The secret of `slot`, from whichever copy is sound. Reads 64 bytes of each file, where it is
    /// called: that is less than a change of thread costs.
    ///
    /// # Errors
    /// `KeyUnavailable` when either copy was destroyed; `Corrupt` when both are absent or damaged:
    /// there is never an empty secret.
    pub fn secret(&self, slot: u64) -> Result<ShredSecret> {
        let [first, second] = &self.files;
        match (read(&**first, slot)?, read(&**second, slot)?) {
            (Slot::Destroyed, _) | (_, Slot::Destroyed) => {
                Err(Error::new(ErrorKind::KeyUnavailable, format!("shred slot {slot} was erased")))
            }
            (Slot::Filled(secret), _) | (_, Slot::Filled(secret)) => Ok(secret),
            (Slot::Unreadable, Slot::Unreadable) => {
                Err(Error::corrupt(format!("shred slot {slot} is absent or damaged")))
            }
        }
    }

    /// Destroys the secret of `slot` in both copies. Durable when it returns; idempotent. Whether
    /// the slot may be destroyed (retention, holds) is the caller's to know.
    ///
    /// # Errors
    /// `NotFound` for a slot that was never filled; `Unavailable`, then call again.
    pub fn destroy(&self, slot: u64) -> Result<()> {
        let next = self.next.lock();
        if slot >= next.filled {
            return Err(Error::new(ErrorKind::NotFound, format!("shred slot {slot}")));
        }
        let bytes = encode(slot, STATE_DESTROYED, &[0; 32]);
        for file in &self.files {
            let written = write_all_at(&**file, &*bytes, slot * SLOT_BYTES as u64);
            written.and_then(|()| file.sync_data()).map_err(error::io("erasing a shred slot"))?;
        }
        Ok(())
    }

    fn fill(&self, slots: std::ops::Range<u64>) -> io::Result<()> {
        let offset = slots.start * SLOT_BYTES as u64;
        let count = SLOTS_AHEAD as usize * SLOT_BYTES;
        let mut bytes = Zeroizing::new(Vec::with_capacity(count));
        let mut secret = Zeroizing::new([0; 32]);
        for slot in slots {
            self.entropy.fill(&mut *secret);
            bytes.extend_from_slice(&*encode(slot, STATE_FILLED, &secret));
        }
        for file in &self.files {
            write_all_at(&**file, &bytes, offset)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

fn encode(slot: u64, state: u8, secret: &[u8; 32]) -> Zeroizing<[u8; SLOT_BYTES]> {
    let mut out = Zeroizing::new([0; SLOT_BYTES]);
    out[..32].copy_from_slice(secret);
    out[32..40].copy_from_slice(&slot.to_le_bytes());
    out[40] = state;
    let sum = crc32c::crc32c(&out[..60]);
    out[60..].copy_from_slice(&sum.to_le_bytes());
    out
}

fn read(file: &dyn DiskFile, slot: u64) -> Result<Slot> {
    let mut bytes = Zeroizing::new([0; SLOT_BYTES]);
    let Some(offset) = slot.checked_mul(SLOT_BYTES as u64) else { return Ok(Slot::Unreadable) };
    match file.read_exact_at(&mut *bytes, offset) {
        Ok(()) => Ok(decode(&bytes, slot).unwrap_or(Slot::Unreadable)),
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(Slot::Unreadable),
        // A bad sector in one copy must not hide the other.
        Err(cause) => {
            tracing::error!(slot, kind = %cause.kind(), "a shred slot can't be read");
            Ok(Slot::Unreadable)
        }
    }
}

fn decode(bytes: &[u8; SLOT_BYTES], slot: u64) -> Option<Slot> {
    let mut fields = Reader::new(bytes);
    let secret = fields.take(32).ok()?.try_into().ok()?;
    let (number, state) = (fields.u64().ok()?, fields.u8().ok()?);
    let zeros = fields.take(19).ok()?.iter().all(|byte| *byte == 0);
    let sound = fields.u32().ok()? == crc32c::crc32c(&bytes[..60]);
    match state {
        STATE_FILLED if sound && zeros && number == slot => {
            Some(Slot::Filled(ShredSecret::from_bytes(secret)))
        }
        STATE_DESTROYED if sound && zeros && number == slot => Some(Slot::Destroyed),
        _ => None,
    }
}
