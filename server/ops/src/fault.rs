//! What went wrong, in the domain's words. Each API maps [`FaultKind`] to its own answers by one table.

use std::{borrow::Cow, fmt};

use readvault_store::ErrorKind;

/// What is wrong. API crates match this exhaustively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request carries no usable credentials.
    Unauthenticated,
    /// The caller may not do this, or may not know whether it exists.
    AccessDenied,
    /// The bytes belong to something immutable.
    Immutable,
    /// No such bucket.
    NoSuchBucket,
    /// No such object.
    NoSuchKey,
    /// No such object version.
    NoSuchVersion,
    /// No such multipart upload.
    NoSuchUpload,
    /// No such tag set.
    NoSuchTagSet,
    /// No such resource of another kind.
    NotFound,
    /// The bucket exists and belongs to the caller.
    BucketAlreadyOwnedByYou,
    /// The bucket, store or other container is not empty.
    NotEmpty,
    /// The name of a bucket is not legal.
    InvalidBucketName,
    /// An object key is not legal.
    InvalidKey,
    /// An object key is longer than 1,024 bytes.
    KeyTooLong,
    /// An argument is not legal.
    InvalidArgument,
    /// A tag is not legal.
    InvalidTag,
    /// User metadata is above its limit.
    MetadataTooLarge,
    /// A declared digest is not of a legal form.
    InvalidDigest,
    /// The bytes do not match a declared digest.
    BadDigest,
    /// The bytes do not match the signed digest of the payload.
    PayloadHashMismatch,
    /// The body ended before or after its declared length.
    IncompleteBody,
    /// The body is above the limit of the operation.
    EntityTooLarge,
    /// A part other than the last is below its smallest size.
    EntityTooSmall,
    /// A part list names a part that does not exist or differs.
    InvalidPart,
    /// A part list is not in ascending order.
    InvalidPartOrder,
    /// A condition of the request does not hold.
    PreconditionFailed,
    /// Nothing newer than what the caller has.
    NotModified,
    /// The range lies outside the bytes.
    InvalidRange,
    /// The resource is archived or not active.
    InvalidState,
    /// The resource is in a state, or changed meanwhile, so that this can't be done.
    Conflict,
    /// A quota would be passed.
    QuotaExceeded,
    /// The operation exists elsewhere, but not for this resource.
    NotSupported,
    /// The operation is known and not built.
    NotImplemented,
    /// Overload: try again later.
    SlowDown,
    /// The body did not come in time.
    RequestTimeout,
    /// The disk is full.
    InsufficientStorage,
    /// The key that opens this is disabled, absent or erased.
    KeyUnavailable,
    /// Stored bytes failed a check.
    Corrupt,
    /// A fault of this program.
    Internal,
}

/// A fault: what is wrong, in words for people, and the cause for the log.
#[derive(Debug)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// What, why and what to do, for the caller. Never holds a secret or another caller's names.
    pub message: Cow<'static, str>,
    /// The cause, for the log only.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Seconds after which a client that was told to slow down may try again (`Retry-After`).
pub const RETRY_AFTER_SECONDS: u16 = 1;

/// The result of an operation.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: FaultKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// An argument is not legal.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultKind::InvalidArgument, message)
    }

    /// A resource does not exist.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultKind::NotFound, message)
    }

    /// A fault of this program.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultKind::Internal, message)
    }

    /// The same fault with its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl From<readvault_store::Error> for Fault {
    fn from(error: readvault_store::Error) -> Self {
        let (kind, message) = match error.kind() {
            ErrorKind::NotFound => (FaultKind::NotFound, "the resource does not exist"),
            ErrorKind::AlreadyExists => (FaultKind::Conflict, "the resource exists already"),
            ErrorKind::Precondition => (FaultKind::Conflict, "the resource changed meanwhile"),
            ErrorKind::InvalidInput => (FaultKind::InvalidArgument, "the input is not acceptable"),
            ErrorKind::LimitExceeded => (FaultKind::QuotaExceeded, "a limit would be passed"),
            ErrorKind::Corrupt => (FaultKind::Corrupt, "stored bytes failed a check"),
            ErrorKind::KeyUnavailable => {
                (FaultKind::KeyUnavailable, "the key that opens this is not usable")
            }
            ErrorKind::NoSpace => {
                (FaultKind::InsufficientStorage, "the vault has no room left; reads go on")
            }
            ErrorKind::Unavailable => (FaultKind::SlowDown, "the vault is busy; try again"),
            ErrorKind::Internal => (FaultKind::Internal, "internal error"),
        };
        Self::new(kind, message).because(error)
    }
}
