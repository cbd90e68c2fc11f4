//! The plain files under the encrypting Env: RocksDB's own or, in campaigns, those with an observer between.

#[cfg(feature = "testing")]
pub(crate) use observed::{PlainFiles, RawObserver};

#[cfg(not(feature = "testing"))]
pub(crate) use plain::{PlainFiles, RawObserver};

#[cfg(not(feature = "testing"))]
mod plain {
    /// RocksDB's own files.
    #[derive(Debug, Default)]
    pub(crate) struct PlainFiles;

    /// There is none.
    #[derive(Debug)]
    pub(crate) enum RawObserver {}

    impl PlainFiles {
        /// Nothing for the shim.
        #[expect(clippy::unused_self, reason = "its other shape has an observer")]
        pub(crate) fn raw(&self) -> Option<RawObserver> {
            None
        }
    }
}

#[cfg(feature = "testing")]
mod observed {
    use std::{ffi::OsStr, ffi::c_void, os::unix::ffi::OsStrExt, path::Path, slice, sync::Arc};

    use readvault_store::disk::observed::{Observer, Operation, Verdict};

    /// RocksDB's own files, or those of an observer.
    #[derive(Debug, Default)]
    pub(crate) struct PlainFiles {
        pub(crate) observer: Option<Arc<dyn Observer>>,
    }

    /// Mirrors `readvault_operation` in shim/observed_files.h.
    #[repr(C)]
    #[derive(Debug)]
    pub(crate) struct RawOperation {
        kind: i32,
        path: *const u8,
        path_length: usize,
        target: *const u8,
        target_length: usize,
        number: u64,
        data: *const u8,
        length: usize,
    }

    /// Mirrors `readvault_observer` in shim/observed_files.h.
    #[repr(C)]
    #[derive(Debug)]
    pub(crate) struct RawObserver {
        context: *const c_void,
        begin: extern "C" fn(*const c_void, *const RawOperation, *mut u64, *mut usize) -> i32,
        end: extern "C" fn(*const c_void, *const RawOperation, u64),
        release: extern "C" fn(*const c_void),
    }

    impl PlainFiles {
        /// What the shim is given.
        pub(crate) fn raw(&self) -> Option<RawObserver> {
            let observer = self.observer.clone()?;
            let context = Box::into_raw(Box::new(observer)).cast_const().cast();
            Some(RawObserver { context, begin, end, release })
        }
    }

    impl RawOperation {
        fn view(&self) -> Operation<'_> {
            let (path, target) =
                (bytes(self.path, self.path_length), bytes(self.target, self.target_length));
            let (path, target) =
                (Path::new(OsStr::from_bytes(path)), Path::new(OsStr::from_bytes(target)));
            let data = bytes(self.data, self.length);
            match self.kind {
                1 => Operation::Create(path),
                2 => Operation::Write { path, offset: None, bytes: data },
                3 => Operation::Write { path, offset: Some(self.number), bytes: data },
                4 => Operation::Truncate(path, self.number),
                5 => Operation::Sync(path),
                6 => Operation::Close(path),
                7 => Operation::Rename(path, target),
                8 => Operation::Link(path, target),
                9 => Operation::Remove(path),
                10 => Operation::MakeDirectory(path),
                _ => Operation::SyncDirectory(path),
            }
        }
    }

    fn bytes<'a>(start: *const u8, length: usize) -> &'a [u8] {
        if length == 0 {
            return &[];
        }
        #[expect(unsafe_code, reason = "reads what the shim hands over")]
        // SAFETY: the shim gives `length` initialised bytes that live as long as the operation, which
        // outlives every use of the view made of it.
        unsafe {
            slice::from_raw_parts(start, length)
        }
    }

    fn parts<'a>(
        context: *const c_void,
        operation: *const RawOperation,
    ) -> (&'a dyn Observer, &'a RawOperation) {
        #[expect(unsafe_code, reason = "called by the shim")]
        // SAFETY: `context` is the box of `raw`, alive until `release`; the operation lives during the
        // call.
        let (observer, operation) = unsafe { (&*context.cast::<Arc<dyn Observer>>(), &*operation) };
        (&**observer, operation)
    }

    extern "C" fn begin(
        context: *const c_void,
        operation: *const RawOperation,
        ticket: *mut u64,
        taken: *mut usize,
    ) -> i32 {
        let (observer, operation) = parts(context, operation);
        let (answer, number, some) = match observer.begin(&operation.view()) {
            Verdict::Go(number) => (0, number, 0),
            Verdict::Fail(errno) => (errno, 0, 0),
            Verdict::Short(some) => (NO_SPACE, 0, some.min(operation.length)),
        };
        #[expect(unsafe_code, reason = "called by the shim")]
        // SAFETY: both point to variables of the caller.
        unsafe {
            *ticket = number;
            *taken = some;
        }
        answer
    }

    extern "C" fn end(context: *const c_void, operation: *const RawOperation, ticket: u64) {
        let (observer, operation) = parts(context, operation);
        observer.end(&operation.view(), ticket);
    }

    extern "C" fn release(context: *const c_void) {
        #[expect(unsafe_code, reason = "called by the shim")]
        // SAFETY: who owns the context calls this once, from its destructor.
        drop(unsafe { Box::from_raw(context.cast_mut().cast::<Arc<dyn Observer>>()) });
    }

    /// ENOSPC.
    const NO_SPACE: i32 = 28;
}
