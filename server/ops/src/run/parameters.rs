//! Parameters of a run against the template of its workflow, and the URIs in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    Fault,
    fault::Result,
    workflow::{FileUse, Parameter},
};

/// Most bytes of inline parameters.
pub const PARAMETERS_BYTES_MAX: usize = 256 << 10;

/// Most inputs of one run.
pub const INPUTS_MAX: usize = 1000;

/// Key of the object that stands where an input was named.
const INPUT: &str = "$input";

/// What a workflow says of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The template; none = not checked.
    pub template: Option<&'a BTreeMap<String, Parameter>>,
    /// How texts of each parameter are used.
    pub file_use: &'a BTreeMap<String, FileUse>,
    /// Name of the workflow, which may qualify a parameter's.
    pub entry: Option<&'a str>,
}

/// Parameters with their URIs taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// The parameters, `{"$input": index}` wherever an input was named.
    pub parameters: Value,
    /// The URIs, each once, in order of index.
    pub uris: Vec<String>,
}

/// Checks `parameters` and takes the URIs of inputs out of them.
///
/// # Errors
/// `InvalidArgument` that names the parameters which are missing, unknown or not usable.
pub fn extract(parameters: &Value, expected: Expected<'_>) -> Result<Extracted> {
    let Value::Object(given) = parameters else {
        return Err(Fault::invalid("parameters must be a JSON object"));
    };
    if let Some(template) = expected.template {
        check_names(given, template, expected.entry)?;
    }
    let mut uris = Vec::new();
    let mut replaced = Map::new();
    for (name, value) in given {
        let plain = unqualified(name, expected.entry);
        let file_use = expected.file_use.get(plain).copied().unwrap_or(FileUse::Maybe);
        replaced.insert(name.clone(), replace(name, value, file_use, &mut uris)?);
    }
    if uris.len() > INPUTS_MAX {
        return Err(Fault::invalid("a run has at most 1,000 inputs"));
    }
    Ok(Extracted { parameters: Value::Object(replaced), uris })
}

fn unqualified<'a>(name: &'a str, entry: Option<&str>) -> &'a str {
    let rest = entry.and_then(|entry| name.strip_prefix(entry)?.strip_prefix('.'));
    rest.unwrap_or(name)
}

fn check_names(
    given: &Map<String, Value>,
    template: &BTreeMap<String, Parameter>,
    entry: Option<&str>,
) -> Result<()> {
    let has = |name: &str| {
        given.iter().any(|(key, value)| !value.is_null() && unqualified(key, entry) == name)
    };
    let missing: Vec<_> = template
        .iter()
        .filter(|(name, parameter)| !parameter.optional && !has(name))
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(named("missing required parameters", &missing));
    }
    let known =
        |key: &str| template.contains_key(key) || template.contains_key(unqualified(key, entry));
    let unknown: Vec<_> = given.keys().map(String::as_str).filter(|key| !known(key)).collect();
    if !unknown.is_empty() {
        return Err(named("parameters that are not in the workflow's template", &unknown));
    }
    let twice: Vec<_> = template
        .keys()
        .map(String::as_str)
        .filter(|name| given.keys().filter(|key| unqualified(key, entry) == *name).count() > 1)
        .collect();
    if !twice.is_empty() {
        return Err(named("parameters given twice", &twice));
    }
    Ok(())
}

/// Names at most twenty of what is wrong.
fn named(what: &str, names: &[&str]) -> Fault {
    let shown: Vec<_> = names.iter().take(20).copied().collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    Fault::invalid(format!("{what}: {}{more}", shown.join(", ")))
}

/// What a text of a parameter is.
enum TextKind {
    Input,
    Plain,
    Refused(&'static str),
}

fn kind_of(text: &str, file_use: FileUse) -> TextKind {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match (file_use, scheme.as_deref()) {
        (FileUse::Never, _) => TextKind::Plain,
        (_, Some("s3" | "omics")) => TextKind::Input,
        (FileUse::Maybe, _) => TextKind::Plain,
        (FileUse::Always, Some(_)) => {
            TextKind::Refused("files are named by s3:// or omics:// URIs only")
        }
        (FileUse::Always, None) => {
            TextKind::Refused("a path can't be an input; name the file by an s3:// or omics:// URI")
        }
    }
}

fn replace(name: &str, value: &Value, file_use: FileUse, uris: &mut Vec<String>) -> Result<Value> {
    Ok(match value {
        Value::String(text) => match kind_of(text, file_use) {
            TextKind::Plain => value.clone(),
            TextKind::Refused(reason) => {
                return Err(Fault::invalid(format!(
                    "parameter {name}: INVALID_URI_INPUT: {reason}"
                )));
            }
            TextKind::Input => {
                let index = uris.iter().position(|uri| uri == text).unwrap_or_else(|| {
                    uris.push(text.clone());
                    uris.len() - 1
                });
                json!({ INPUT: index })
            }
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| replace(name, item, file_use, uris));
            Value::Array(items.collect::<Result<_>>()?)
        }
        Value::Object(members) => {
            if members.contains_key(INPUT) {
                return Err(Fault::invalid(format!(
                    "parameter {name}: the key {INPUT} is reserved"
                )));
            }
            let members = members
                .iter()
                .map(|(key, item)| Ok((key.clone(), replace(name, item, file_use, uris)?)));
            Value::Object(members.collect::<Result<_>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> (BTreeMap<String, Parameter>, BTreeMap<String, FileUse>) {
        let parameter = |optional| Parameter { description: None, optional };
        let template = [("reads", false), ("label", false), ("pairs", true)];
        let uses =
            [("reads", FileUse::Always), ("label", FileUse::Never), ("pairs", FileUse::Maybe)];
        (
            template.map(|(name, optional)| (name.to_owned(), parameter(optional))).into(),
            uses.map(|(name, used)| (name.to_owned(), used)).into(),
        )
    }

    fn run(parameters: &Value) -> Result<Extracted> {
        let (template, file_use) = template();
        let expected =
            Expected { template: Some(&template), file_use: &file_use, entry: Some("align") };
        extract(parameters, expected)
    }

    #[test]
    fn uris_are_taken_out_once_each() {
        let extracted = run(&json!({
            "align.reads": ["s3://b/1", "s3://b/2", "s3://b/1"],
            "label": "s3://b/stays",
            "pairs": {"x": [1.5, null, {"f": "omics://y"}], "t": "text"},
        }))
        .unwrap();
        assert_eq!(extracted.uris, ["s3://b/1", "s3://b/2", "omics://y"]);
        let expected = json!({
            "align.reads": [{"$input": 0}, {"$input": 1}, {"$input": 0}],
            "label": "s3://b/stays",
            "pairs": {"x": [1.5, null, {"f": {"$input": 2}}], "t": "text"},
        });
        assert_eq!(extracted.parameters, expected);
    }

    #[test]
    fn faults_name_the_parameters() {
        let message = |parameters: Value| run(&parameters).unwrap_err().message.into_owned();
        assert!(message(json!({"label": "x"})).contains("reads"));
        assert!(message(json!({"reads": null, "label": "x"})).contains("reads"));
        let unknown = message(json!({"reads": "s3://b/1", "label": "x", "colour": 1}));
        assert!(unknown.contains("colour") && !unknown.contains("label"));
        let twice = message(json!({"reads": "s3://b/1", "align.reads": "s3://b/1", "label": ""}));
        assert!(twice.contains("twice"));
        assert!(
            message(json!({"reads": "/etc/passwd", "label": "x"})).contains("INVALID_URI_INPUT")
        );
        assert!(message(json!({"reads": "https://h/x", "label": "x"})).contains("reads"));
        let reserved = json!({"reads": "s3://b/1", "label": "x", "pairs": {"$input": 7}});
        assert!(message(reserved).contains("reserved"));
        assert!(message(json!([])).contains("object"));
    }
}
