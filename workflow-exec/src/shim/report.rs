//! What the shim prints, in the shapes that engines parse.

use std::fmt::Write;

use serde_json::{Value, json};

use super::invocation::Show;
use crate::shim_protocol::{InspectReply, ShimReply};

/// Answer to `--version`: the shape of the program whose name it goes by.
pub(super) fn version(name: &str) -> String {
    let own = env!("CARGO_PKG_VERSION");
    match name {
        "docker" => format!("Docker version 24.0.0-readvault-{own}, build readvault\n"),
        _ => format!("podman version 4.9.0-readvault-{own}\n"),
    }
}

/// The replies as the command's standard output.
pub(super) fn text(show: &Show, replies: &[ShimReply]) -> String {
    match show {
        Show::Names(names) => names.iter().map(|name| format!("{name}\n")).collect(),
        Show::Inspect => {
            let found: Vec<Value> = replies.iter().filter_map(inspected).collect();
            format!("{:#}\n", Value::Array(found))
        }
        Show::Images { quiet } => replies.iter().map(|reply| images(reply, *quiet)).collect(),
        Show::Stats { format } => stats(format.as_deref(), replies),
    }
}

fn inspected(reply: &ShimReply) -> Option<Value> {
    match reply {
        ShimReply::Inspect(InspectReply::Image { name, digest, config_digest, config }) => {
            let repository = repository(name);
            let part = |key: &str| config.get(key).cloned().unwrap_or(Value::Null);
            Some(json!({
                "Id": config_digest,
                "RepoTags": [name],
                "RepoDigests": [format!("{repository}@{digest}")],
                "Digest": digest,
                "Created": part("created"),
                "Architecture": part("architecture"),
                "Os": part("os"),
                "Config": part("config"),
                "RootFS": { "Type": "layers", "Layers": config.pointer("/rootfs/diff_ids") },
            }))
        }
        ShimReply::Inspect(InspectReply::Container {
            container,
            name,
            image,
            running,
            exit_code,
        }) => Some(json!({
            "Id": container,
            "Name": format!("/{name}"),
            "Config": { "Image": image },
            "State": {
                "Status": if *running { "running" } else { "exited" },
                "Running": running,
                "ExitCode": exit_code.unwrap_or(0),
            },
        })),
        _ => None,
    }
}

fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn images(reply: &ShimReply, quiet: bool) -> String {
    let ShimReply::Images { images } = reply else { return String::new() };
    let mut text = String::new();
    if !quiet {
        text.push_str("REPOSITORY\tTAG\tDIGEST\n");
    }
    for (name, digest) in images {
        let repository = repository(name);
        let tag = name.get(repository.len() + 1..).unwrap_or("<none>");
        let _ = match quiet {
            true => writeln!(text, "{digest}"),
            false => writeln!(text, "{repository}\t{tag}\t{digest}"),
        };
    }
    text
}

fn stats(format: Option<&str>, replies: &[ShimReply]) -> String {
    let mut text = String::new();
    if format.is_none() {
        text.push_str("CONTAINER ID\tCPU SECONDS\tMEM USAGE / LIMIT\tMEM %\tPIDS\n");
    }
    let format =
        format.unwrap_or("{{.ID}}\t{{.CPUSeconds}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.PIDs}}");
    for reply in replies {
        let ShimReply::Stats { container, memory_bytes, memory_bytes_max, cpu_seconds, pids } =
            reply
        else {
            continue;
        };
        let share = *memory_bytes as f64 / (*memory_bytes_max).max(1) as f64 * 100.0;
        let line = format
            .replace("{{.ID}}", container)
            .replace("{{.Container}}", container)
            .replace("{{.CPUSeconds}}", &format!("{cpu_seconds:.2}"))
            .replace("{{.MemUsage}}", &format!("{memory_bytes}B / {memory_bytes_max}B"))
            .replace("{{.MemPerc}}", &format!("{share:.2}%"))
            .replace("{{.PIDs}}", &pids.to_string());
        let _ = writeln!(text, "{line}");
    }
    text
}
