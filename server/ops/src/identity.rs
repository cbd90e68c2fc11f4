//! Who calls: credentials to [`Caller`]. Both signature verifiers of the front door end here.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{Fault, FaultKind, core::Site, fault::Result};

/// A secret access key. Never shown, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(String);

impl SecretKey {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for the signature verifier only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody known.
    Anonymous,
    /// The account's root.
    Root,
    /// A role, acted under by a service or a session.
    Role {
        /// Name of the role.
        name: String,
        /// Name of the session.
        session: String,
    },
}

/// Who calls, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who acts.
    pub principal: Principal,
    /// The access key that signed, if any.
    pub access_key: Option<String>,
    /// The service that acts for the principal, such as `omics.amazonaws.com` in a job.
    pub via_service: Option<&'static str>,
    /// Address of the peer, if it came over the network.
    pub source: Option<IpAddr>,
    /// Whether the request came over TLS.
    pub secure: bool,
}

impl Caller {
    /// Nobody known.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            principal: Principal::Anonymous,
            access_key: None,
            via_service: None,
            source: None,
            secure: false,
        }
    }

    /// The ARN by which records name the caller.
    #[must_use]
    pub fn arn(&self, site: &Site) -> String {
        match &self.principal {
            Principal::Anonymous => "anonymous".into(),
            Principal::Root => format!("arn:aws:iam::{}:root", site.account),
            Principal::Role { name, session } => {
                format!("arn:aws:sts::{}:assumed-role/{name}/{session}", site.account)
            }
        }
    }
}

/// Credentials of the account's root.
#[derive(Clone, Debug)]
pub struct RootCredentials {
    /// Its access key.
    pub access_key: String,
    /// Its secret.
    pub secret: SecretKey,
}

/// The identities of this vault: root, and the run role made for `--dev`. Users, policies and sessions
/// are not built yet: their calls answer so.
#[derive(Clone, Debug)]
pub struct Identity {
    site: Arc<Site>,
    root: Arc<RootCredentials>,
}

impl Identity {
    /// Name of the run role, which may read and write all of this vault.
    pub const RUN_ROLE: &'static str = "readvault-run";

    /// The identities of the vault at `site`.
    #[must_use]
    pub fn new(site: Site, root: RootCredentials) -> Self {
        Self { site: Arc::new(site), root: Arc::new(root) }
    }

    /// Where this vault stands.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// ARN of the run role.
    #[must_use]
    pub fn run_role_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{}", self.site.account, Self::RUN_ROLE)
    }

    /// The secret of `access_key`, for a verifier; none when the key is unknown or disabled.
    #[must_use]
    pub fn secret(&self, access_key: &str) -> Option<SecretKey> {
        (access_key == self.root.access_key).then(|| self.root.secret.clone())
    }

    /// The caller whose signature by `access_key` was verified.
    ///
    /// # Errors
    /// `Unauthenticated` when the key is unknown, or a session token came that no session bears.
    pub fn identify(&self, access_key: &str, session_token: Option<&str>) -> Result<Caller> {
        if access_key != self.root.access_key || session_token.is_some() {
            return Err(Fault::new(FaultKind::Unauthenticated, "the access key is not known"));
        }
        Ok(Caller {
            principal: Principal::Root,
            access_key: Some(access_key.into()),
            ..Caller::anonymous()
        })
    }

    /// The caller that a job or run acts as when it was handed `role_arn`.
    ///
    /// # Errors
    /// `AccessDenied` when there is no such role or the service may not assume it.
    pub fn assume(&self, role_arn: &str, session: &str) -> Result<Caller> {
        if role_arn != self.run_role_arn() {
            return Err(Fault::new(
                FaultKind::AccessDenied,
                format!(
                    "the role {role_arn} does not exist or can't be assumed; this vault has {}",
                    self.run_role_arn()
                ),
            ));
        }
        Ok(Caller {
            principal: Principal::Role { name: Self::RUN_ROLE.into(), session: session.into() },
            via_service: Some("omics.amazonaws.com"),
            ..Caller::anonymous()
        })
    }
}
