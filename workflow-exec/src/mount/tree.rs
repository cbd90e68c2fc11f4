//! The directories and files of a mount; made once, never changed.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    time::{Duration, UNIX_EPOCH},
};

use fuser::{FileAttr, FileType, INodeNo};
use readvault_exec_protocol::run::InputSpec;

/// One time for every file, so that an index is never older than its data.
const UNIX_SECONDS: u64 = 1_000_000_000;
/// Size of the blocks in which tools are told to read.
const BLOCK_BYTES: u32 = 128 << 10;

/// A file or a directory.
#[derive(Debug)]
pub(super) enum Node {
    /// Names and what they lead to.
    Directory {
        /// Where `..` leads.
        parent: u64,
        /// Its entries.
        entries: BTreeMap<OsString, u64>,
    },
    /// An input.
    File {
        /// Index into the run's inputs.
        input: u32,
        /// Length in bytes.
        length: u64,
    },
}

/// All nodes; inode n is at n - 1, the root is 1.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    owner: (u32, u32),
}

impl Tree {
    /// `DIGEST/NAME` for every input; equal content under an equal name is one file.
    ///
    /// # Errors
    /// Which input has no usable digest or name.
    pub(super) fn new(inputs: &[InputSpec]) -> Result<Self, String> {
        let root = Node::Directory { parent: 1, entries: BTreeMap::new() };
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let mut tree = Self { nodes: vec![root], owner };
        for (index, input) in inputs.iter().enumerate() {
            let usable = |part: &str| {
                !part.is_empty()
                    && part.len() <= 255
                    && part != "."
                    && part != ".."
                    && !part.contains(['/', '\0'])
            };
            if !usable(&input.digest) || !usable(&input.name) {
                return Err(format!("input {index}"));
            }
            let directory = Node::Directory { parent: 1, entries: BTreeMap::new() };
            let directory = tree.child(1, &input.digest, directory);
            let number = u32::try_from(index).map_err(|_| format!("input {index}"))?;
            tree.child(directory, &input.name, Node::File { input: number, length: input.length });
        }
        Ok(tree)
    }

    /// The entry `name` of `directory`, which is made of `node` when it is new.
    fn child(&mut self, directory: u64, name: &str, node: Node) -> u64 {
        let new = self.nodes.len() as u64 + 1;
        let Some(Node::Directory { entries, .. }) = self.node_mut(directory) else {
            unreachable!("only directories get entries");
        };
        let inode = *entries.entry(name.into()).or_insert(new);
        if inode == new {
            self.nodes.push(node);
        }
        inode
    }

    fn node_mut(&mut self, inode: u64) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(inode.checked_sub(1)?).ok()?)
    }

    /// The node of an inode.
    pub(super) fn node(&self, inode: INodeNo) -> Option<&Node> {
        self.nodes.get(usize::try_from(u64::from(inode).checked_sub(1)?).ok()?)
    }

    /// The inode of `name` in `directory`.
    pub(super) fn lookup(&self, directory: INodeNo, name: &OsStr) -> Option<INodeNo> {
        match self.node(directory)? {
            Node::Directory { entries, .. } => entries.get(name).copied().map(INodeNo),
            Node::File { .. } => None,
        }
    }

    /// What `stat` says of an inode.
    pub(super) fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, nlink, size) = match self.node(inode)? {
            Node::Directory { .. } => (FileType::Directory, 0o555, 2, 0),
            Node::File { length, .. } => (FileType::RegularFile, 0o444, 1, *length),
        };
        let time = UNIX_EPOCH + Duration::from_secs(UNIX_SECONDS);
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }
}
