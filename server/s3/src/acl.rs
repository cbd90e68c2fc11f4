//! The one ACL that there is: the owner's full control.

use s3s::{S3ErrorCode, dto};

use crate::fault::{Result, refuse};

/// The owner of everything.
pub(crate) fn owner(account: &str) -> dto::Owner {
    dto::Owner { display_name: None, id: Some(account.into()) }
}

/// The grants of everything.
pub(crate) fn grants(account: &str) -> dto::Grants {
    vec![dto::Grant {
        grantee: Some(dto::Grantee {
            display_name: None,
            email_address: None,
            id: Some(account.into()),
            type_: dto::Type::from_static(dto::Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(dto::Permission::from_static(dto::Permission::FULL_CONTROL)),
    }]
}

/// Checks that a policy grants what everything has already, and nothing else.
pub(crate) fn only_owner(policy: Option<&dto::AccessControlPolicy>, account: &str) -> Result<()> {
    let grants = policy.and_then(|policy| policy.grants.as_ref());
    let owner_only = grants.into_iter().flatten().all(|grant| {
        let grantee = grant.grantee.as_ref().and_then(|grantee| grantee.id.as_deref());
        grantee == Some(account)
    });
    if owner_only {
        return Ok(());
    }
    Err(refuse(
        S3ErrorCode::AccessControlListNotSupported,
        "this vault knows no ACL but that of the owner's full control: use policies",
    ))
}
