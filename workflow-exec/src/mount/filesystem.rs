//! The file system as the kernel sees it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fuser::{
    Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, Request,
};

use super::{
    access::Opens,
    reader::{Position, Reader},
    tree::{Node, Tree},
};

/// Nothing ever changes: the kernel may remember names and attributes for ever.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Bytes that the kernel reads ahead, if it lets us say so.
const READ_AHEAD_BYTES: u32 = 1 << 20;
/// Requests that the kernel may have under way in the background (its read-ahead).
const BACKGROUND_MAX: u16 = 64;

/// The inputs of a run.
#[derive(Debug)]
pub(super) struct InputFiles {
    tree: Tree,
    reader: Reader,
    opens: Opens,
    handles: Mutex<HashMap<u64, Position>>,
    next_handle: AtomicU64,
}

impl InputFiles {
    /// Serves `tree` through `reader`.
    pub(super) fn new(tree: Tree, reader: Reader) -> Self {
        let opens = Opens::new(reader.server());
        Self { tree, reader, opens, handles: Mutex::default(), next_handle: AtomicU64::new(1) }
    }

    fn position(&self, handle: FileHandle) -> Position {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.get(&u64::from(handle)).cloned().unwrap_or_default()
    }
}

impl Filesystem for InputFiles {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if let Err(most) = config.set_max_readahead(READ_AHEAD_BYTES) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_background(BACKGROUND_MAX);
        for wanted in [InitFlags::FUSE_ASYNC_READ, InitFlags::FUSE_PARALLEL_DIROPS] {
            // Faster with them, right without.
            let _ = config.add_capabilities(wanted);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.tree.lookup(parent, name).and_then(|inode| self.tree.attributes(inode));
        match found {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree.attributes(inode) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let Some(Node::File { input, .. }) = self.tree.node(inode) else {
            return reply.error(Errno::EISDIR);
        };
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        self.opens.note(request.pid(), *input);
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.insert(handle, Position::default());
        reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(Node::File { input, length }) = self.tree.node(inode) else {
            return reply.error(Errno::EISDIR);
        };
        let end = offset.saturating_add(u64::from(size)).min(*length);
        let position = self.position(handle);
        match self.reader.read((*input, *length), offset..end.max(offset), &position) {
            // Always all that was asked for: the kernel would fill a short answer with zeros.
            Ok(content) => reply.data(&content),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.remove(&u64::from(handle));
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(Node::Directory { parent, entries }) = self.tree.node(inode) else {
            return reply.error(Errno::ENOTDIR);
        };
        let dots = [(OsStr::new("."), u64::from(inode)), (OsStr::new(".."), *parent)];
        let named = entries.iter().map(|(name, child)| (name.as_os_str(), *child));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, child)) in dots.into_iter().chain(named).enumerate().skip(skipped) {
            let kind = match self.tree.node(INodeNo(child)) {
                Some(Node::File { .. }) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(INodeNo(child), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }
}
