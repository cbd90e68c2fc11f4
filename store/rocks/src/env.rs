//! The border to the C++ Env: hands it the file cipher, takes it as RocksDB's `Env`.

use std::{ffi::c_void, fmt, slice, sync::Arc};

use readvault_ambient::Entropy;
use readvault_store::{Error, ErrorKind, Result, catalog::row::RowSealer};

use crate::{
    file_cipher::{FileCipher, FileKeys},
    observer::{PlainFiles, RawObserver},
};

/// Mirrors `readvault_callbacks` in shim/encrypting_env.cc.
#[repr(C)]
struct Callbacks {
    keys: *const c_void,
    new_prefix: extern "C" fn(*const c_void, *mut u8, usize) -> i32,
    open_cipher: extern "C" fn(*const c_void, *const u8, usize) -> *mut c_void,
    apply: extern "C" fn(*const c_void, u64, *mut u8, usize) -> i32,
    close_cipher: extern "C" fn(*mut c_void),
    release: extern "C" fn(*const c_void),
}

#[expect(unsafe_code, reason = "declares the functions of the shim")]
// SAFETY: the signatures are those of shim/encrypting_env.cc.
unsafe extern "C" {
    fn readvault_encrypting_env(
        calls: *const Callbacks,
        observer: *const RawObserver,
    ) -> *mut c_void;
    #[cfg(test)]
    fn readvault_env_refuses_reuse(env: *mut c_void, name: *const std::ffi::c_char) -> i32;
}

/// An Env through which every file passes encrypted into `plain`, under keys that `sealer` derives.
pub(crate) fn encrypting_env(
    sealer: Arc<RowSealer>,
    entropy: Arc<dyn Entropy>,
    plain: &PlainFiles,
) -> Result<rocksdb::Env> {
    let raw = raw_env(sealer, entropy, plain)?;
    #[expect(unsafe_code, reason = "the crate takes a foreign Env only so")]
    // SAFETY: `raw` has the layout of rocksdb_env_t (held by a static assertion on RocksDB's
    // version), is
    // owned here and handed over, and `is_default` is false, so that destroying it deletes the Env.
    Ok(unsafe { rocksdb::Env::from_raw(raw.cast()) })
}

fn raw_env(
    sealer: Arc<RowSealer>,
    entropy: Arc<dyn Entropy>,
    plain: &PlainFiles,
) -> Result<*mut c_void> {
    let keys = Arc::new(FileKeys::new(sealer, entropy));
    let calls = Callbacks {
        keys: Arc::into_raw(keys).cast(),
        new_prefix,
        open_cipher,
        apply,
        close_cipher,
        release,
    };
    let observer = plain.raw();
    let observer = observer.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    #[expect(unsafe_code, reason = "calls the shim")]
    // SAFETY: the tables are read during the call only; their functions live for ever, `keys` and the
    // observer until their `release`, which who holds them calls when it ends, also when this call
    // fails half-way. The observer is null unless the shim was compiled to take one.
    let raw = unsafe { readvault_encrypting_env(&raw const calls, observer) };
    if raw.is_null() {
        return Err(Error::new(ErrorKind::Internal, "the encrypting env was not made"));
    }
    Ok(raw)
}

extern "C" fn new_prefix(keys: *const c_void, prefix: *mut u8, length: usize) -> i32 {
    #[expect(unsafe_code, reason = "called by the shim")]
    // SAFETY: `keys` is the FileKeys of `raw_env`, alive until `release`; `prefix` is a buffer of
    // `length`
    // bytes that RocksDB allotted for this call alone. It may be uninitialised, so it is zeroed
    // first.
    let (keys, prefix) = unsafe {
        prefix.write_bytes(0, length);
        (&*keys.cast::<FileKeys>(), slice::from_raw_parts_mut(prefix, length))
    };
    keys.new_prefix(prefix).map_or(1, |()| 0)
}

extern "C" fn open_cipher(keys: *const c_void, prefix: *const u8, length: usize) -> *mut c_void {
    if prefix.is_null() {
        return std::ptr::null_mut();
    }
    #[expect(unsafe_code, reason = "called by the shim")]
    // SAFETY: as in `new_prefix`; `prefix` holds the `length` bytes that were read from the file.
    let (keys, prefix) =
        unsafe { (&*keys.cast::<FileKeys>(), slice::from_raw_parts(prefix, length)) };
    keys.open(prefix).map_or(std::ptr::null_mut(), |cipher| Box::into_raw(Box::new(cipher)).cast())
}

extern "C" fn apply(cipher: *const c_void, offset: u64, data: *mut u8, length: usize) -> i32 {
    if length == 0 {
        return 0;
    }
    #[expect(unsafe_code, reason = "called by the shim")]
    // SAFETY: `cipher` came from `open_cipher` and is not closed while its stream lives; it is
    // only read,
    // so calls from several threads may overlap. `data` is a buffer of `length` initialised bytes
    // that
    // this call alone uses.
    let (cipher, data) =
        unsafe { (&*cipher.cast::<FileCipher>(), slice::from_raw_parts_mut(data, length)) };
    cipher.apply(offset, data).map_or(1, |()| 0)
}

extern "C" fn close_cipher(cipher: *mut c_void) {
    #[expect(unsafe_code, reason = "called by the shim")]
    // SAFETY: the stream that owns `cipher` calls this once, from its destructor.
    drop(unsafe { Box::from_raw(cipher.cast::<FileCipher>()) });
}

extern "C" fn release(keys: *const c_void) {
    #[expect(unsafe_code, reason = "called by the shim")]
    // SAFETY: the provider that owns `keys` calls this once, from its destructor.
    drop(unsafe { Arc::from_raw(keys.cast::<FileKeys>()) });
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callbacks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use readvault_ambient::System;
    use readvault_store::seal::{CatalogKey, SecretKey};

    #[test]
    fn nothing_is_written_twice_under_one_keystream() {
        let sealer = RowSealer::new(CatalogKey::from_bytes(&[1; 32]));
        let raw = raw_env(Arc::new(sealer), Arc::new(System), &PlainFiles::default()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, [0; 8192]).unwrap();
        let name = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
        #[expect(unsafe_code, reason = "calls the shim's test function")]
        // SAFETY: `raw` is alive until it is wrapped below; `name` ends with a zero byte.
        let refused = unsafe { readvault_env_refuses_reuse(raw, name.as_ptr()) };
        assert_eq!(refused, 0);
        assert_eq!(std::fs::read(&file).unwrap(), [0; 8192]);
        #[expect(unsafe_code, reason = "frees the env")]
        // SAFETY: as in `encrypting_env`.
        drop(unsafe { rocksdb::Env::from_raw(raw.cast()) });
    }
}
