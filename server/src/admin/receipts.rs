//! `readvaultd receipts …`: receipts of erasures, and whether one is genuine.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use async_trait::async_trait;
use clap::{Args, Subcommand};
use readvault_ops::{Fault, FaultKind, fault::Result};
use readvault_store::receipts::{Entry, Signed, State, verify};
use serde::{Deserialize, Serialize};

use super::{Alone, Answer, Call, Command, Desk, client::Refused};

/// What to do with receipts.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReceiptsOf {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// Lists what was erased, one a line.
    List,
    /// Prints a receipt with its signature, to be handed out.
    Show {
        /// Its number.
        number: u32,
    },
    /// Prints the public key that all receipts of this vault are signed for.
    Key,
    /// Says whether a receipt is genuine; needs no server and no vault.
    Verify(Verify),
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
struct Verify {
    /// The receipt, as `show` printed it.
    file: PathBuf,
    /// The vault's public key (64 hexadecimal digits), from its administrator and not from the receipt.
    #[arg(long)]
    key: String,
}

#[async_trait]
impl Command for ReceiptsOf {
    fn action(&self) -> &'static str {
        match self.what {
            What::List => "readvault:ListReceipts",
            What::Show { .. } => "readvault:ShowReceipt",
            What::Key => "readvault:ReceiptKey",
            What::Verify(_) => "readvault:VerifyReceipt",
        }
    }

    async fn run(&self, desk: &Desk, _call: &Call) -> Result<Answer> {
        match self.what {
            What::List => Ok(list(&desk.erasures.entries().await?)),
            What::Show { number } => show(desk, number).await,
            What::Key => {
                let key = hex(&desk.erasures.receipts().public_key());
                Ok(Answer::new(key.clone(), &serde_json::json!({ "key": key })))
            }
            What::Verify(_) => {
                Err(Fault::new(FaultKind::InvalidState, "a receipt is verified without a server"))
            }
        }
    }

    fn alone(&self) -> Option<&dyn Alone> {
        match &self.what {
            What::Verify(verify) => Some(verify),
            _ => None,
        }
    }
}

fn list(entries: &[Entry]) -> Answer {
    let mut text = String::new();
    for entry in entries {
        let receipt = &entry.receipt;
        let done = match entry.state {
            State::Done => receipt.time_done.as_str(),
            State::Intended => "not done yet",
        };
        let _ =
            writeln!(text, "{}\t{done}\t{}\t{}", entry.number, receipt.resource, receipt.reason);
    }
    if entries.is_empty() {
        text.push_str("nothing was erased\n");
    }
    let receipts: Vec<_> = entries.iter().map(|entry| &entry.receipt).collect();
    Answer::new(text, &serde_json::json!({ "receipts": receipts }))
}

async fn show(desk: &Desk, number: u32) -> Result<Answer> {
    let entries = desk.erasures.entries().await?;
    let entry = entries.iter().find(|entry| entry.number == number);
    let entry = entry.ok_or_else(|| Fault::not_found(format!("there is no receipt {number}")))?;
    if entry.state == State::Intended {
        let what = format!("erasure {number} is not done yet: the next start finishes it");
        return Err(Fault::new(FaultKind::InvalidState, what));
    }
    let signed = desk.erasures.receipts().signed(entry);
    let text = serde_json::to_string_pretty(&signed).unwrap_or_default();
    Ok(Answer::new(text, &signed))
}

impl Alone for Verify {
    fn run(&self, _data: Option<&Path>) -> anyhow::Result<Answer> {
        let text = std::fs::read_to_string(&self.file).context("the receipt can't be read")?;
        let key = unhex(&self.key).context("a key is 64 hexadecimal digits")?;
        let genuine = serde_json::from_str::<Signed>(&text).ok().filter(|it| verify(it, &key));
        let Some(Signed { receipt, .. }) = genuine else {
            return Err(Refused::new(6, "this receipt is not genuine").into());
        };
        let text = format!(
            "genuine: {} {} was erased at {} ({})",
            receipt.kind, receipt.resource, receipt.time_done, receipt.reason
        );
        Ok(Answer::new(text, &serde_json::json!({ "genuine": true, "receipt": receipt })))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let plain = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !plain {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
