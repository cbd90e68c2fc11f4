//! Tags of whatever has an ARN: read, set, removed in the resource's own row.

use std::collections::BTreeMap;

use readvault_store::catalog::{Commit, RowKey};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Fault, FaultKind,
    authorize::Permit,
    core::{Core, DECISIONS_MAX, contended, encode},
    fault::Result,
    read_set::{self, ReadSet},
    reference::{self, Reference},
    reference_store::{self, ReferenceStore},
    run::{self, Run},
    sequence_store::{self, SequenceStore},
    workflow::{self, Workflow},
};

/// Tags of one resource at most.
pub const TAGS_MAX: usize = 50;

/// A row that keeps tags.
trait Tagged: Serialize + DeserializeOwned + Send {
    fn tags(&self) -> BTreeMap<String, String>;
    fn set_tags(&mut self, tags: BTreeMap<String, String>);
}

macro_rules! tagged {
    ($($name:ty),*) => {$(
        impl Tagged for $name {
            fn tags(&self) -> BTreeMap<String, String> {
                self.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            }

            fn set_tags(&mut self, tags: BTreeMap<String, String>) {
                self.tags = tags.into_iter().collect();
            }
        }
    )*};
}

tagged!(SequenceStore, ReadSet, ReferenceStore, Reference, Workflow, Run);

/// What a call does to tags.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    None,
    Set(BTreeMap<String, String>),
    Remove(Vec<String>),
}

/// The tags of the resource `arn`.
///
/// # Errors
/// `InvalidArgument` when `arn` is not of this vault; `NotFound`.
pub async fn list(core: &Core, _permit: &Permit, arn: &str) -> Result<BTreeMap<String, String>> {
    change(core, arn, &Change::None).await
}

/// Adds `tags` to the resource `arn`; a key that is there gets the new value. Durable when it
/// returns.
///
/// # Errors
/// As [`list`]; `QuotaExceeded` beyond [`TAGS_MAX`].
pub async fn set(
    core: &Core,
    _permit: &Permit,
    arn: &str,
    tags: BTreeMap<String, String>,
) -> Result<()> {
    change(core, arn, &Change::Set(tags)).await.map(drop)
}

/// Removes the tags `keys` of the resource `arn`; keys that are not there are passed over. Durable
/// when it returns.
///
/// # Errors
/// As [`list`].
pub async fn remove(core: &Core, _permit: &Permit, arn: &str, keys: Vec<String>) -> Result<()> {
    change(core, arn, &Change::Remove(keys)).await.map(drop)
}

async fn change(core: &Core, arn: &str, change: &Change) -> Result<BTreeMap<String, String>> {
    let rest = arn.strip_prefix(&core.site().arn("omics", "")).ok_or_else(|| {
        Fault::invalid("the ARN is not of a HealthOmics resource of this account and region")
    })?;
    let path: Vec<&str> = rest.split('/').collect();
    match path.as_slice() {
        ["sequenceStore", id] => edit::<SequenceStore>(core, sequence_store::row(id), change).await,
        ["sequenceStore", store, "readSet", id] => {
            edit::<ReadSet>(core, read_set::row(store, id), change).await
        }
        ["referenceStore", id] => {
            edit::<ReferenceStore>(core, reference_store::row(id), change).await
        }
        ["referenceStore", store, "reference", id] => {
            edit::<Reference>(core, reference::row(store, id), change).await
        }
        ["workflow", id] => edit::<Workflow>(core, workflow::row(id), change).await,
        ["run", id] => edit::<Run>(core, run::row(id), change).await,
        _ => Err(Fault::not_found("no resource with this ARN has tags")),
    }
}

async fn edit<T: Tagged>(
    core: &Core,
    row: RowKey,
    change: &Change,
) -> Result<BTreeMap<String, String>> {
    for _ in 0..DECISIONS_MAX {
        let stored = core.load::<T>(&row).await?;
        let mut stored = stored.ok_or_else(|| Fault::not_found("the resource does not exist"))?;
        let tags = applied(stored.value.tags(), change)?;
        if *change == Change::None {
            return Ok(tags);
        }
        stored.value.set_tags(tags.clone());
        let mut commit = Commit::new();
        commit.unchanged(row.clone(), stored.version).put(row.clone(), encode(&stored.value));
        if core.commit(commit).await? {
            return Ok(tags);
        }
    }
    Err(contended())
}

fn applied(
    mut tags: BTreeMap<String, String>,
    change: &Change,
) -> Result<BTreeMap<String, String>> {
    match change {
        Change::None => {}
        Change::Set(new) => {
            tags.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
            if tags.len() > TAGS_MAX {
                let message = "a resource has at most 50 tags";
                return Err(Fault::new(FaultKind::QuotaExceeded, message));
            }
        }
        Change::Remove(keys) => tags.retain(|key, _| !keys.contains(key)),
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_and_removed_by_key() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
        };
        let now = map(&[("a", "1"), ("b", "2")]);
        let set = applied(now.clone(), &Change::Set(map(&[("b", "3"), ("c", "4")])));
        assert_eq!(set.expect("few"), map(&[("a", "1"), ("b", "3"), ("c", "4")]));
        let removed = applied(now.clone(), &Change::Remove(vec!["a".into(), "x".into()]));
        assert_eq!(removed.expect("few"), map(&[("b", "2")]));
        let many = (0..TAGS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert!(applied(now, &Change::Set(many)).is_err());
    }
}
