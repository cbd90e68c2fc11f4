//! May the caller do this? No operation runs without a [`Permit`].
//!
//! The first slice knows root and the run role; a policy evaluator takes the place of [`allows`] without
//! touching an operation.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    Fault, FaultKind,
    fault::Result,
    identity::{Caller, Principal},
};

/// One thing that a caller asks to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// IAM action, such as `s3:GetObject`.
    pub action: &'static str,
    /// ARN of the resource, or `*`.
    pub resource: String,
}

impl Ask {
    /// Asks for `action` on `resource`.
    pub fn new(action: &'static str, resource: impl Into<String>) -> Self {
        Self { action, resource: resource.into() }
    }
}

/// Proof that a caller may do what it asked. Kept by whatever goes on after the answer began.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    asks: Arc<[Ask]>,
    authorizer: Authorizer,
    generation: u64,
}

impl Permit {
    /// Whose permit it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether it still holds; asked at every extent, job step or 5 s. One atomic compare unless
    /// identities or policies changed.
    #[must_use]
    pub fn live(&self) -> bool {
        let now = self.authorizer.generation.load(Ordering::Acquire);
        now == self.generation
            || self.asks.iter().all(|ask| self.authorizer.allows(&self.caller, ask))
    }
}

/// Judges asks.
#[derive(Clone, Debug, Default)]
pub struct Authorizer {
    generation: Arc<AtomicU64>,
    root_only: Arc<AtomicBool>,
}

impl Authorizer {
    /// Allows nothing to anybody but root from here on: for a vault that an administrator must look at
    /// before it serves others.
    pub fn restrict(&self) {
        self.root_only.store(true, Ordering::Release);
        self.revoke();
    }

    /// A permit for all of `asks`, or a refusal that names the first that is not allowed.
    ///
    /// # Errors
    /// `Unauthenticated` for an anonymous caller, `AccessDenied` otherwise.
    pub fn authorize(&self, caller: &Caller, asks: &[Ask]) -> Result<Permit> {
        let generation = self.generation.load(Ordering::Acquire);
        if let Some(refused) = asks.iter().find(|ask| !self.allows(caller, ask)) {
            let kind = match caller.principal {
                Principal::Anonymous => FaultKind::Unauthenticated,
                Principal::Root | Principal::Role { .. } => FaultKind::AccessDenied,
            };
            return Err(Fault::new(kind, format!("not allowed: {}", refused.action)));
        }
        Ok(Permit {
            caller: caller.clone(),
            asks: asks.into(),
            authorizer: self.clone(),
            generation,
        })
    }

    /// Judges each ask by itself, for operations over many resources.
    pub fn authorize_each(&self, caller: &Caller, asks: &[Ask]) -> Vec<Result<Permit>> {
        asks.iter().map(|ask| self.authorize(caller, std::slice::from_ref(ask))).collect()
    }

    /// Makes every permit be judged anew at its next [`Permit::live`].
    pub fn revoke(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn allows(&self, caller: &Caller, ask: &Ask) -> bool {
        let root = caller.principal == Principal::Root;
        (root || !self.root_only.load(Ordering::Acquire)) && allows(caller, ask)
    }
}

fn allows(caller: &Caller, ask: &Ask) -> bool {
    let _ = ask;
    match &caller.principal {
        Principal::Anonymous => false,
        Principal::Root => true,
        Principal::Role { name, .. } => name == crate::identity::Identity::RUN_ROLE,
    }
}
