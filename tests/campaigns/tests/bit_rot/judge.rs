//! Opens a damaged vault, reads everything, and judges what it shows.

use std::path::Path;

use readvault_campaigns::{
    home::{Home, OBJECTS, OpenVault},
    lane::Stored,
    verify::told,
};
use readvault_store::{
    Error, ErrorKind,
    catalog::{Fold, RowKey, ScanRange},
};

use crate::{
    damage::Damage,
    subject::{Class, Subject},
};

/// Rows of a page.
const PAGE: usize = 1000;

/// What a damaged vault showed.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All bytes, and no error.
    Unharmed,
    /// Errors, every one of which tells where the damage is.
    Pinpointed,
    /// Errors of which this one does not.
    Told(String),
    /// What must not be.
    Violation(String),
}

/// What the errors of one vault said.
struct Heard<'a> {
    damage: &'a Damage,
    told: Vec<String>,
}

impl Heard<'_> {
    /// Takes in an error; gives it back when it is none that damage may cause.
    fn error(&mut self, what: &str, error: &Error) -> Result<(), Verdict> {
        let text = told(error);
        let internal = error.kind() == ErrorKind::Internal;
        // A file that is gone without a word; one whose pack or key is gone says so.
        let places = ["pack", "key log", "key of store", "domain of a store"];
        let placed = places.iter().any(|place| text.contains(place));
        let absent = error.kind() == ErrorKind::NotFound && !placed;
        if internal || absent {
            return Err(Verdict::Violation(format!("{what}: {text}")));
        }
        self.told.push(text);
        Ok(())
    }

    /// Whether an error names the file that was damaged, or the one place where such damage can be.
    fn names_it(&self, text: &str) -> bool {
        let words: &[&str] = match self.damage.class {
            Class::Pack => &[],
            Class::Keyring => &["keyring"],
            Class::KeyLog => &["key log", "key of store", "domain of a store"],
            Class::ShredSlots => &["shred slot"],
            _ => &["catalog"],
        };
        let names = self.damage.names();
        names.iter().any(|name| text.contains(name.as_str()))
            || words.iter().any(|word| text.contains(word))
    }

    fn verdict(self) -> Verdict {
        if self.told.is_empty() {
            return Verdict::Unharmed;
        }
        let unnamed = self.told.iter().find(|text| !self.names_it(text)).cloned();
        match unnamed {
            None => Verdict::Pinpointed,
            Some(text) if self.damage.class == Class::Pack => {
                Verdict::Violation(format!("damage of a pack is told without its place: {text}"))
            }
            Some(text) => Verdict::Told(text),
        }
    }
}

pub(crate) async fn judge(subject: &Subject, damage: &Damage, place: &Path) -> Verdict {
    let mut heard = Heard { damage, told: Vec::new() };
    let open = match Home::new(place).open().await {
        Ok(open) => open,
        Err(error) if damage.class == Class::Pack => {
            return Verdict::Violation(format!("a damaged pack stops the start: {}", told(&error)));
        }
        Err(error) => {
            let outcome = heard.error("open", &error);
            return outcome.map_or_else(|verdict| verdict, |()| heard.verdict());
        }
    };
    let looked = look(subject, &open, &mut heard).await;
    let closed = open.close().await;
    match (looked, closed) {
        (Err(verdict), _) => verdict,
        (Ok(()), Err(error)) => Verdict::Violation(format!("close: {}", told(&error))),
        (Ok(()), Ok(())) => heard.verdict(),
    }
}

async fn look(subject: &Subject, open: &OpenVault, heard: &mut Heard<'_>) -> Result<(), Verdict> {
    let wrong = |name: &str, what: &str| Verdict::Violation(format!("{name} {what}"));
    for (name, bytes) in &subject.expected {
        let row = open.vault.catalog().read(&[RowKey::new(OBJECTS, name.clone())]).await;
        let row = match row {
            Ok(rows) => rows.into_iter().next().flatten(),
            Err(error) => {
                heard.error(name, &error)?;
                continue;
            }
        };
        let row = row.ok_or_else(|| wrong(name, "was acknowledged and is absent"))?;
        let stored: Stored =
            serde_json::from_slice(&row.value).map_err(|_| wrong(name, "has a row of noise"))?;
        match open.vault.read_file(&stored.file).await {
            Ok(read) if read == *bytes => {}
            Ok(_) => return Err(wrong(name, "holds other bytes")),
            Err(error) => heard.error(name, &error)?,
        }
    }
    let all = ScanRange::prefix(OBJECTS, "");
    match open.vault.catalog().scan(&all, &Fold::default(), PAGE).await {
        Ok(page) => {
            let names = page.rows().map(|row| String::from_utf8_lossy(&row.key).into_owned());
            let found: Vec<_> = names.collect();
            let stray = found.iter().find(|name| !subject.expected.contains_key(*name));
            if let Some(stray) = stray {
                return Err(wrong(stray, "was deleted and is back"));
            }
            if found.len() != subject.expected.len() {
                return Err(wrong("a name", "is missing from the list"));
            }
        }
        Err(error) => heard.error("the list", &error)?,
    }
    Ok(())
}
