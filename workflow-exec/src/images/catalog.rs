//! The names and engines of an image store, as they stand in `catalog.json`.

use std::collections::BTreeMap;

use readvault_exec_protocol::agent::Language;
use serde::{Deserialize, Serialize};

/// Names and engines; pure data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Catalog {
    #[serde(default)]
    names: BTreeMap<String, String>,
    #[serde(default)]
    engines: Vec<(Language, String)>,
}

impl Catalog {
    /// Lets `name` mean `digest` from now on.
    pub(super) fn name(&mut self, name: &str, digest: &str) {
        self.names.insert(name.to_owned(), digest.to_owned());
    }

    /// What `name` means.
    pub(super) fn digest_of(&self, name: &str) -> Option<&str> {
        self.names.get(name).map(String::as_str)
    }

    /// All names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Whether any name means `digest`.
    pub(super) fn is_named(&self, digest: &str) -> bool {
        self.names.values().any(|named| named == digest)
    }

    /// Whether `digest` is an engine.
    pub(super) fn is_engine(&self, digest: &str) -> bool {
        self.engines.iter().any(|(_, engine)| engine == digest)
    }

    /// Forgets `name`.
    pub(super) fn forget_name(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Forgets every name of `digest`.
    pub(super) fn forget_digest(&mut self, digest: &str) {
        self.names.retain(|_, named| named != digest);
    }

    /// Makes `digest` the engine for `language`.
    pub(super) fn set_engine(&mut self, language: Language, digest: &str) {
        self.engines.retain(|(other, _)| *other != language);
        self.engines.push((language, digest.to_owned()));
    }

    /// The engine for `language`.
    pub(super) fn engine(&self, language: Language) -> Option<&str> {
        self.engines().find(|(other, _)| *other == language).map(|(_, digest)| digest)
    }

    /// All engines.
    pub(super) fn engines(&self) -> impl Iterator<Item = (Language, &str)> {
        self.engines.iter().map(|(language, digest)| (*language, digest.as_str()))
    }
}
