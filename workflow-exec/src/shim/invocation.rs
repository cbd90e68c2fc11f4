//! The command line: which command, which request, what to print.
//!
//! A flag that is not in the tables is refused, never skipped: what an engine or a workflow asks
//! for is either done or named as the reason why the task did not run.

use std::{ffi::OsString, path::PathBuf};

use nix::sys::signal::Signal;

use super::flags::{self, Draft};
use crate::shim_protocol::{RunContainer, ShimRequest};

/// Why a command line is refused, in words for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

/// Shorthand for a refusal.
pub(super) fn refused<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(reason.into()))
}

/// What a command line asks for.
#[derive(Debug)]
pub(super) enum Invocation {
    /// `--version` or `version`.
    Version,
    /// `run`.
    Run {
        /// The container.
        container: Box<RunContainer>,
        /// `--cidfile`.
        cidfile: Option<PathBuf>,
    },
    /// Anything that is one question after another.
    Ask {
        /// The questions.
        requests: Vec<ShimRequest>,
        /// What is printed of the answers.
        show: Show,
    },
}

/// What is printed.
#[derive(Debug)]
pub(super) enum Show {
    /// The names that were given, as docker does after `stop` and `rm`.
    Names(Vec<String>),
    /// A JSON array.
    Inspect,
    /// A table, or digests only.
    Images {
        /// `-q`.
        quiet: bool,
    },
    /// A table, or `--format`.
    Stats {
        /// `--format`.
        format: Option<String>,
    },
}

impl Invocation {
    /// Reads the arguments that follow the program's name.
    pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, Refusal> {
        let mut words = Vec::new();
        for argument in arguments {
            match argument.into_string() {
                Ok(word) => words.push(word),
                Err(_) => return refused("an argument is not UTF-8"),
            }
        }
        let mut words = words.into_iter();
        let mut command = words.next().unwrap_or_default();
        // `docker image inspect`, `podman container rm` and so on.
        if matches!(command.as_str(), "image" | "container") {
            command = match (command.as_str(), words.next().unwrap_or_default().as_str()) {
                ("image", "ls" | "list") => "images".into(),
                (_, second) => second.into(),
            };
        }
        let rest: Vec<String> = words.collect();
        match command.as_str() {
            "--version" | "-v" | "version" => Ok(Self::Version),
            "run" => Self::run(rest),
            "pull" => {
                let (_, names) = simple(&command, rest, &["platform"])?;
                one_each(names, Show::Names, |image| ShimRequest::Pull { image })
            }
            "inspect" => {
                let (_, names) = simple(&command, rest, &["type"])?;
                one_each(names, |_| Show::Inspect, |name| ShimRequest::Inspect { name })
            }
            "images" => {
                let (options, names) = simple(&command, rest, &[])?;
                if !names.is_empty() {
                    return refused("'images' takes no names here");
                }
                let quiet = options.iter().any(|(name, _)| name == "quiet");
                Ok(Self::Ask { requests: vec![ShimRequest::Images], show: Show::Images { quiet } })
            }
            "stop" => {
                let (_, names) = simple(&command, rest, &["time", "timeout"])?;
                one_each(names, Show::Names, |name| ShimRequest::Stop { name })
            }
            "rm" => {
                let (_, names) = simple(&command, rest, &[])?;
                one_each(names, Show::Names, |name| ShimRequest::Remove { name })
            }
            "kill" => Self::kill(rest),
            "stats" => {
                let (options, names) = simple(&command, rest, &["format"])?;
                let format = value_of(&options, "format");
                let show = Show::Stats { format };
                one_each(names, |_| show, |name| ShimRequest::Stats { name })
            }
            "" => refused("no command was given"),
            other => refused(format!("the command '{other}' is not available in a run")),
        }
    }

    fn run(words: Vec<String>) -> Result<Self, Refusal> {
        let mut draft = Draft::default();
        let mut words = words.into_iter();
        let image = loop {
            match words.next() {
                Some(word) if word == "--" => break words.next(),
                Some(word) if word.starts_with('-') && word.len() > 1 => {
                    flags::apply(&word, &mut words, &mut draft)?;
                }
                other => break other,
            }
        };
        let Some(image) = image else { return refused("'run' needs an image") };
        let (mut container, cidfile) = draft.finish()?;
        container.image = image;
        container.argv = words.collect();
        Ok(Self::Run { container: Box::new(container), cidfile })
    }

    fn kill(words: Vec<String>) -> Result<Self, Refusal> {
        let (options, names) = simple("kill", words, &["signal"])?;
        let text = value_of(&options, "signal").unwrap_or_else(|| "KILL".into());
        let signal = signal_of(&text)?;
        one_each(names, Show::Names, |name| ShimRequest::Kill { name, signal })
    }
}

fn one_each(
    names: Vec<String>,
    show: impl FnOnce(Vec<String>) -> Show,
    request: impl Fn(String) -> ShimRequest,
) -> Result<Invocation, Refusal> {
    if names.is_empty() {
        return refused("the command needs a name");
    }
    let requests = names.iter().cloned().map(request).collect();
    Ok(Invocation::Ask { requests, show: show(names) })
}

/// Options with their values, and names.
type Words = (Vec<(String, String)>, Vec<String>);

/// Splits the words of a command without a table of its own into options and names. `valued` are
/// the options with a value.
fn simple(command: &str, words: Vec<String>, valued: &[&str]) -> Result<Words, Refusal> {
    const SWITCHES: [&str; 8] =
        ["quiet", "force", "volumes", "no-stream", "no-trunc", "all", "digests", "no-reset"];
    let (mut options, mut names) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-') else {
            names.push(word);
            continue;
        };
        let (name, value) = match flag.strip_prefix('-').unwrap_or(flag).split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag.trim_start_matches('-').to_owned(), None),
        };
        let name = match (command, name.as_str()) {
            (_, "q") => "quiet",
            ("rm", "f") => "force",
            ("rm", "v") => "volumes",
            ("kill", "s") => "signal",
            ("stop", "t") => "time",
            (_, "a") => "all",
            (_, other) => other,
        }
        .to_owned();
        let value = match value {
            Some(value) => value,
            None if valued.contains(&name.as_str()) => match words.next() {
                Some(value) => value,
                None => return refused(format!("'{word}' needs a value")),
            },
            None => String::new(),
        };
        if !valued.contains(&name.as_str()) && !SWITCHES.contains(&name.as_str()) {
            return refused(format!("'{command} {word}' is not available in a run"));
        }
        options.push((name, value));
    }
    Ok((options, names))
}

fn value_of(options: &[(String, String)], name: &str) -> Option<String> {
    options.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

fn signal_of(text: &str) -> Result<i32, Refusal> {
    if let Ok(number) = text.parse() {
        return match Signal::try_from(number) {
            Ok(_) => Ok(number),
            Err(_) => refused(format!("'{text}' is no signal")),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    match name.parse::<Signal>() {
        Ok(signal) => Ok(signal as i32),
        Err(_) => refused(format!("'{text}' is no signal")),
    }
}

#[cfg(test)]
mod tests;
