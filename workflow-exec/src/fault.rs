//! What goes wrong with a run, with the failure reason that its record gets.

use std::fmt;

/// Failure reasons of the HealthOmics user guide that this node can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// A container could not be made.
    CannotStartContainer,
    /// An output could not be exported.
    ExportFailed,
    /// The run's file system is full.
    FileSystemOutOfSpace,
    /// An image is not on this node or does not verify.
    ImageVerificationFailure,
    /// An input could not be staged.
    ImportFailed,
    /// A task asks for more than the run's allocation.
    InvalidTaskResourceValue,
    /// The kernel ended a task for memory.
    OutOfMemory,
    /// A task failed.
    RunTaskFailed,
    /// The run took longer than it may.
    RunTimedOut,
    /// This node failed.
    ServiceError,
    /// The engine failed, for a cause that is not one task's.
    WorkflowRunFailed,
}

impl FailureReason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CannotStartContainer => "CANNOT_START_CONTAINER_ERROR",
            Self::ExportFailed => "EXPORT_FAILED",
            Self::FileSystemOutOfSpace => "FILE_SYSTEM_OUT_OF_SPACE",
            Self::ImageVerificationFailure => "IMAGE_VERIFICATION_FAILURE",
            Self::ImportFailed => "IMPORT_FAILED",
            Self::InvalidTaskResourceValue => "INVALID_TASK_RESOURCE_VALUE",
            Self::OutOfMemory => "OUT_OF_MEMORY_ERROR",
            Self::RunTaskFailed => "RUN_TASK_FAILED",
            Self::RunTimedOut => "RUN_TIMED_OUT",
            Self::ServiceError => "SERVICE_ERROR",
            Self::WorkflowRunFailed => "WORKFLOW_RUN_FAILED",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Something went wrong: a reason for the record and words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What the run's record gets.
    pub reason: FailureReason,
    /// What happened.
    pub message: String,
}

impl Fault {
    /// A fault with this reason.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A fault of this node.
    pub fn service(message: impl Into<String>) -> Self {
        Self::new(FailureReason::ServiceError, message)
    }
}

/// Turns any error into a [`Fault`] that says what was being done.
pub trait Doing<T> {
    /// The value, or a fault of this node that names `what` and the cause.
    ///
    /// # Errors
    /// [`Fault`] with [`FailureReason::ServiceError`].
    fn doing(self, what: impl fmt::Display) -> Result<T, Fault>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Fault> {
        self.map_err(|cause| Fault::service(format!("{what}: {cause}")))
    }
}

/// Gives a fault another reason.
pub trait Because<T> {
    /// The same result with `reason` in place of its own.
    ///
    /// # Errors
    /// The same fault with another reason.
    fn because(self, reason: FailureReason) -> Result<T, Fault>;
}

impl<T> Because<T> for Result<T, Fault> {
    fn because(self, reason: FailureReason) -> Result<T, Fault> {
        self.map_err(|fault| Fault { reason, ..fault })
    }
}
