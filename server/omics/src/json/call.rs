//! Who calls which operation.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request};
use readvault_ops::{
    authorize::{Ask, Permit},
    identity::Caller,
    record::RequestRecord,
};

use crate::{Parts, error::ApiError, gate::Signed};

/// The caller of a request that passed the gate, and its record.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Who calls.
    pub(crate) caller: Caller,
    record: Option<Arc<RequestRecord>>,
}

impl Call {
    /// A permit to do `action` (such as `omics:GetReadSet`) on `resource`; notes both in the
    /// record.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub(crate) fn permit(
        &self,
        parts: &Parts,
        action: &'static str,
        resource: impl Into<String>,
    ) -> Result<Permit, ApiError> {
        self.permits(parts, &[Ask::new(action, resource)])
    }

    /// A permit to do all of `asks`, the first of which names the operation.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub(crate) fn permits(&self, parts: &Parts, asks: &[Ask]) -> Result<Permit, ApiError> {
        if let (Some(record), Some(first)) = (&self.record, asks.first()) {
            let (api, operation) = first.action.split_once(':').unwrap_or(("omics", first.action));
            record.note(|facts| {
                facts.api = api;
                facts.operation = operation.into();
                facts.caller = self.caller.arn(parts.core.site());
            });
        }
        Ok(parts.authorizer.authorize(&self.caller, asks)?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        let signed = head.extensions.get::<Signed>().ok_or_else(ApiError::unauthenticated)?;
        let record = head.extensions.get::<Arc<RequestRecord>>().cloned();
        Ok(Self { caller: signed.caller.clone(), record })
    }
}
