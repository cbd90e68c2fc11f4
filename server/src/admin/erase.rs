//! `readvaultd erase …`: destroys what opens a read set or a reference, in this vault and in every copy.

use std::fmt::Write;

use async_trait::async_trait;
use clap::{Args, Subcommand};
use readvault_ops::{Fault, erasure::Target, fault::Result};
use readvault_store::receipts::Receipt;
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Command, Desk, Progress};

/// What to erase.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Erase {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// Erases a read set and prints the signed receipt.
    ReadSet {
        /// Its sequence store.
        #[arg(long)]
        store: String,
        /// Its number.
        #[arg(long)]
        read_set: String,
        #[command(flatten)]
        how: How,
    },
    /// Erases a reference that no read set uses, and prints the signed receipt.
    Reference {
        /// Its reference store.
        #[arg(long)]
        store: String,
        /// Its number.
        #[arg(long)]
        reference: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
struct How {
    /// Why; it stands in the receipt: a ticket, no names.
    #[arg(long)]
    reason: String,
    /// Says what would be destroyed and who shares bytes with it, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// The number again, as it can't be undone.
    #[arg(long)]
    confirm: Option<String>,
}

#[async_trait]
impl Command for Erase {
    fn action(&self) -> &'static str {
        match self.what {
            What::ReadSet { .. } => "readvault:EraseReadSet",
            What::Reference { .. } => "readvault:EraseReference",
        }
    }

    async fn run(&self, desk: &Desk, call: &Call) -> Result<Answer> {
        let (target, id, how) = match self.what.clone() {
            What::ReadSet { store, read_set: id, how } => {
                (Target::ReadSet { store, id: id.clone() }, id, how)
            }
            What::Reference { store, reference: id, how } => {
                (Target::Reference { store, id: id.clone() }, id, how)
            }
        };
        if !how.dry_run && how.confirm.as_deref() != Some(id.as_str()) {
            return Err(Fault::invalid(format!(
                "this can't be undone, from no backup: see what it does with --dry-run, then say so \
                 with --confirm {id}"
            )));
        }
        let by = format!("uid {}", call.uid);
        let told =
            |count| call.progress(Progress::new("looking for shared bytes: files", count, None));
        let asked = (how.reason.as_str(), by.as_str());
        let planned = desk.erasures.plan(&call.permit, &target, asked, &told).await?;
        if how.dry_run {
            return Ok(Answer::new(plan_text(&planned), &planned));
        }
        let signed = desk.erasures.erase(&call.permit, planned).await?;
        let text = serde_json::to_string_pretty(&signed).unwrap_or_default();
        Ok(Answer::new(text, &signed))
    }
}

fn plan_text(planned: &Receipt) -> String {
    let Receipt { resource, slot, manifests, file_bytes, shared, .. } = planned;
    let mut text = format!(
        "would destroy shred slot {slot} of {resource}: {} files, {file_bytes} bytes\n",
        manifests.len()
    );
    for other in &shared.items {
        let _ =
            writeln!(text, "{} {} of store {} shares bytes", other.kind, other.item, other.store);
    }
    if shared.more > 0 {
        let _ = writeln!(text, "{} more share bytes", shared.more);
    }
    if shared.unread > 0 {
        let _ = writeln!(text, "{} files could not be looked at", shared.unread);
    }
    if shared.items.is_empty() && shared.unread == 0 {
        text.push_str("nothing else shares its bytes\n");
    }
    text
}
