//! The flags of `run`: a table that says of each what it does, that it is taken without effect, or
//! why it is refused.

use std::{path::PathBuf, vec::IntoIter};

use super::invocation::{Refusal, refused};
use crate::shim_protocol::{Bind, LIST_MAX, RunContainer, SHIM_PROTOCOL_VERSION};

/// Most bytes of an `--env-file`.
const ENV_FILE_BYTES_MAX: u64 = 4 << 20;

/// A container whose flags are being read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    container: RunContainer,
    cidfile: Option<PathBuf>,
    cpu_shares: Option<f64>,
}

impl Draft {
    /// The container, once all flags are read.
    pub(super) fn finish(mut self) -> Result<(RunContainer, Option<PathBuf>), Refusal> {
        // Nextflow says cores as shares of 1024 each.
        let by_shares = self.cpu_shares.map(|shares| shares / 1024.0);
        self.container.cpus = self.container.cpus.or(by_shares);
        self.container.version = SHIM_PROTOCOL_VERSION;
        if self.container.binds.len() > LIST_MAX || self.container.env.len() > LIST_MAX {
            return refused("too many binds or variables");
        }
        Ok((self.container, self.cidfile))
    }
}

/// What a flag does.
enum Does {
    /// A switch: `--flag`, `--flag=true` or `--flag=false`.
    Switch(fn(&mut Draft, bool)),
    /// Takes a value.
    Value(fn(&mut Draft, &str) -> Result<(), Refusal>),
    /// A switch without effect here.
    SwitchIgnored,
    /// A value without effect here.
    ValueIgnored,
    /// A switch that is refused unless it is false.
    SwitchRefused(&'static str),
    /// A value that is refused.
    ValueRefused(&'static str),
}

use Does::{Switch, SwitchIgnored, SwitchRefused, Value, ValueIgnored, ValueRefused};

const DEVICES: &str = "devices are not given to tasks";
const HOST: &str = "a task has name spaces of its own";
const NO_NETWORK: &str = "a task has no network";

/// Long name, short name (or a blank), what it does.
const FLAGS: &[(&str, char, Does)] = &[
    ("interactive", 'i', Switch(|draft, on| draft.container.interactive = on)),
    ("read-only", ' ', Switch(|draft, on| draft.container.read_only = on)),
    ("workdir", 'w', Value(workdir)),
    ("volume", 'v', Value(volume)),
    ("mount", ' ', Value(mount)),
    ("tmpfs", ' ', Value(tmpfs)),
    ("env", 'e', Value(env)),
    ("env-file", ' ', Value(env_file)),
    ("cpus", ' ', Value(|draft, text| number(text).map(|n| draft.container.cpus = Some(n)))),
    ("cpu-shares", 'c', Value(|draft, text| number(text).map(|n| draft.cpu_shares = Some(n)))),
    ("memory", 'm', Value(|draft, text| bytes(text).map(|n| draft.container.memory_bytes = n))),
    ("shm-size", ' ', Value(|draft, text| bytes(text).map(|n| draft.container.shm_bytes = n))),
    ("name", ' ', Value(name)),
    ("entrypoint", ' ', Value(entrypoint)),
    ("cidfile", ' ', Value(cidfile)),
    ("label", 'l', Value(label)),
    ("network", ' ', Value(network)),
    ("net", ' ', Value(network)),
    ("platform", ' ', Value(platform)),
    ("userns", ' ', Value(|_, text| own_name_space("--userns", text, &["keep-id", "auto"]))),
    ("ipc", ' ', Value(|_, text| own_name_space("--ipc", text, &["none", "shareable"]))),
    ("pid", ' ', Value(|_, text| own_name_space("--pid", text, &[]))),
    ("uts", ' ', Value(|_, text| own_name_space("--uts", text, &[]))),
    ("cgroupns", ' ', Value(|_, text| own_name_space("--cgroupns", text, &[]))),
    ("security-opt", ' ', Value(security)),
    // Always so, or decided by the supervisor.
    ("rm", ' ', SwitchIgnored),
    ("init", ' ', SwitchIgnored),
    ("tty", 't', SwitchIgnored),
    ("quiet", 'q', SwitchIgnored),
    ("user", 'u', ValueIgnored),
    ("hostname", 'h', ValueIgnored),
    ("cap-drop", ' ', ValueIgnored),
    ("cpuset-cpus", ' ', ValueIgnored),
    ("log-driver", ' ', ValueIgnored),
    ("log-opt", ' ', ValueIgnored),
    ("memory-reservation", ' ', ValueIgnored),
    ("memory-swap", ' ', ValueIgnored),
    ("memory-swappiness", ' ', ValueIgnored),
    ("pids-limit", ' ', ValueIgnored),
    ("pull", ' ', ValueIgnored),
    ("stop-timeout", ' ', ValueIgnored),
    ("ulimit", ' ', ValueIgnored),
    // Never.
    ("privileged", ' ', SwitchRefused("tasks have no privileges")),
    ("oom-kill-disable", ' ', SwitchRefused("memory limits hold for every task")),
    ("detach", 'd', SwitchRefused("a task ends with the process that started it")),
    ("publish-all", 'P', SwitchRefused(NO_NETWORK)),
    ("cap-add", ' ', ValueRefused("tasks have no capabilities")),
    ("device", ' ', ValueRefused(DEVICES)),
    ("device-cgroup-rule", ' ', ValueRefused(DEVICES)),
    ("gpus", ' ', ValueRefused("this run was granted no accelerator")),
    ("group-add", ' ', ValueRefused("a task has one group")),
    ("publish", 'p', ValueRefused(NO_NETWORK)),
    ("dns", ' ', ValueRefused(NO_NETWORK)),
    ("add-host", ' ', ValueRefused(NO_NETWORK)),
    ("link", ' ', ValueRefused(NO_NETWORK)),
    ("volumes-from", ' ', ValueRefused("a task has its own files")),
    ("volume-driver", ' ', ValueRefused("only paths of the run can be bound")),
    ("sysctl", ' ', ValueRefused("kernel settings cannot be changed")),
    ("cgroup-parent", ' ', ValueRefused("the run decides where its tasks are counted")),
    ("runtime", ' ', ValueRefused("the node decides how tasks are isolated")),
    ("oom-score-adj", ' ', ValueRefused("the node decides which task ends first")),
];

/// Applies one word that begins with `-`, and its value out of `words` when it takes one.
pub(super) fn apply(
    word: &str,
    words: &mut IntoIter<String>,
    draft: &mut Draft,
) -> Result<(), Refusal> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let Some((_, _, does)) = FLAGS.iter().find(|(other, _, _)| *other == name) else {
            return refused(format!("--{name} is not available in a run"));
        };
        return does.apply(&format!("--{name}"), value, words, draft);
    }
    // A cluster of short flags; the rest of the word is the value of the first that takes one.
    let mut rest = word[1..].chars();
    while let Some(short) = rest.next() {
        let known = |entry: &&(&str, char, Does)| short != ' ' && entry.1 == short;
        let Some((_, _, does)) = FLAGS.iter().find(known) else {
            return refused(format!("-{short} is not available in a run"));
        };
        let shown = format!("-{short}");
        if matches!(does, Switch(_) | SwitchIgnored | SwitchRefused(_)) {
            does.apply(&shown, None, words, draft)?;
        } else {
            let value = rest.as_str();
            let value = value.strip_prefix('=').unwrap_or(value);
            let value = (!rest.as_str().is_empty()).then_some(value);
            return does.apply(&shown, value, words, draft);
        }
    }
    Ok(())
}

impl Does {
    fn apply(
        &self,
        shown: &str,
        value: Option<&str>,
        words: &mut IntoIter<String>,
        draft: &mut Draft,
    ) -> Result<(), Refusal> {
        match self {
            Switch(_) | SwitchIgnored | SwitchRefused(_) => {
                let on = match value {
                    None | Some("true" | "1") => true,
                    Some("false" | "0") => false,
                    Some(_) => return refused(format!("{shown} takes no value")),
                };
                match self {
                    Switch(set) => set(draft, on),
                    SwitchRefused(reason) if on => return refused(format!("{shown}: {reason}")),
                    _ => {}
                }
                Ok(())
            }
            Value(_) | ValueIgnored | ValueRefused(_) => {
                let Some(value) = value.map(str::to_owned).or_else(|| words.next()) else {
                    return refused(format!("{shown} needs a value"));
                };
                match self {
                    Value(set) => set(draft, &value).map_err(|Refusal(reason)| {
                        Refusal(if reason.starts_with('-') {
                            reason
                        } else {
                            format!("{shown} {value:?}: {reason}")
                        })
                    }),
                    ValueRefused(reason) => refused(format!("{shown} {value:?}: {reason}")),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn number(text: &str) -> Result<f64, Refusal> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => refused("not a number"),
    }
}

/// Docker's sizes: digits, then b, k, m, g or t, each also with `b` or `ib`; 0 means no limit.
fn bytes(text: &str) -> Result<Option<u64>, Refusal> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return refused("not a size"),
    };
    match number(digits)? * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift / 2)) {
        size if size >= 1e18 => refused("not a size"),
        // Whole after the cast: below 2^60, never negative.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        size => Ok(Some(size as u64).filter(|bytes| *bytes > 0)),
    }
}

fn absolute(path: &str) -> Result<String, Refusal> {
    if path.starts_with('/') { Ok(path.to_owned()) } else { refused("not an absolute path") }
}

fn workdir(draft: &mut Draft, path: &str) -> Result<(), Refusal> {
    draft.container.workdir = Some(absolute(path)?);
    Ok(())
}

/// `SOURCE:TARGET[:OPTIONS]`.
fn volume(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let mut parts = text.split(':');
    let (source, Some(target)) = (parts.next().unwrap_or_default(), parts.next()) else {
        return refused("only paths of the run can be bound");
    };
    let mut readonly = false;
    for option in parts.next().unwrap_or_default().split(',') {
        match option {
            "ro" => readonly = true,
            "" | "rw" | "z" | "Z" | "private" | "rprivate" | "cached" | "delegated"
            | "consistent" => {}
            _ => return refused(format!("the option {option:?} is not available in a run")),
        }
    }
    if parts.next().is_some() {
        return refused("a path with ':' cannot be bound");
    }
    let (source, target) = (absolute(source)?, absolute(target)?);
    draft.container.binds.push(Bind { source, target, readonly, create: true });
    Ok(())
}

/// `type=bind,source=…,target=…[,readonly]`, as comma-separated values.
fn mount(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let mut bind = Bind::default();
    for field in comma_separated(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        match (key, value) {
            ("type", "bind") | ("bind-propagation", "private" | "rprivate") => {}
            ("source" | "src", _) => bind.source = absolute(value)?,
            ("target" | "dst" | "destination", _) => bind.target = absolute(value)?,
            ("readonly" | "ro", "true" | "1") => bind.readonly = true,
            ("readonly" | "ro", "false" | "0") => bind.readonly = false,
            _ => return refused(format!("{field:?} is not available in a run")),
        }
    }
    if bind.source.is_empty() || bind.target.is_empty() {
        return refused("source and target are needed");
    }
    draft.container.binds.push(bind);
    Ok(())
}

/// Fields separated by commas; one in double quotes may hold commas, `""` in it is a quote.
fn comma_separated(text: &str) -> Result<Vec<String>, Refusal> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(letter),
        }
    }
    if quoted { refused("a quote is not closed") } else { Ok(fields) }
}

fn tmpfs(_: &mut Draft, text: &str) -> Result<(), Refusal> {
    match text.split(':').next() {
        // Every task has them.
        Some("/tmp" | "/var/tmp" | "/dev/shm" | "/run") => Ok(()),
        _ => refused("only /tmp, /var/tmp, /dev/shm and /run are temporary"),
    }
}

fn env(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => match std::env::var_os(text).map(|value| value.into_string()) {
            None => (text, None),
            Some(Ok(value)) => (text, Some(value)),
            Some(Err(_)) => return refused("its value is not UTF-8"),
        },
    };
    if name.is_empty() {
        return refused("a variable needs a name");
    }
    if let Some(value) = value {
        draft.container.env.push((name.to_owned(), value));
    }
    Ok(())
}

fn env_file(draft: &mut Draft, path: &str) -> Result<(), Refusal> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(ENV_FILE_BYTES_MAX).read_to_string(&mut text));
    if let Err(cause) = read {
        return refused(cause.to_string());
    }
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .try_for_each(|line| env(draft, line))
}

fn name(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(good) {
        return refused("not a name");
    }
    draft.container.name = Some(text.to_owned());
    Ok(())
}

fn entrypoint(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let words = if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    draft.container.entrypoint = Some(words);
    Ok(())
}

fn cidfile(draft: &mut Draft, path: &str) -> Result<(), Refusal> {
    draft.cidfile = Some(path.into());
    Ok(())
}

fn label(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    draft.container.labels.push((name.to_owned(), value.to_owned()));
    Ok(())
}

fn network(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    if text == "host" || text.contains(':') {
        return refused(HOST);
    }
    draft.container.network = Some(text.to_owned());
    Ok(())
}

fn platform(_: &mut Draft, text: &str) -> Result<(), Refusal> {
    let own = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    if text == own || text.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')) {
        Ok(())
    } else {
        refused(format!("this node is {own}"))
    }
}

fn own_name_space(flag: &str, text: &str, harmless: &[&str]) -> Result<(), Refusal> {
    if text.is_empty() || text == "private" || harmless.contains(&text) {
        Ok(())
    } else {
        refused(format!("{flag}={text}: {HOST}"))
    }
}

fn security(_: &mut Draft, text: &str) -> Result<(), Refusal> {
    let harmless = text.starts_with("no-new-privileges") && !text.ends_with("false");
    if harmless || text.starts_with("label=") || text.starts_with("label:") {
        Ok(())
    } else {
        refused("the confinement of tasks cannot be changed")
    }
}
