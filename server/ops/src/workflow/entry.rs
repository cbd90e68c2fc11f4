//! Finds out what a definition is: engine, main file, parameters.

use std::collections::BTreeMap;

use super::{Engine, FileUse, Parameter, definition::Definition, wdl};

/// What a definition was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What runs it.
    pub(crate) engine: Engine,
    /// Path of its main file.
    pub(crate) main: String,
    /// Name of the workflow in it.
    pub(crate) name: Option<String>,
    /// Parameters that the main file declares; none when that is not known.
    pub(crate) template: Option<BTreeMap<String, Parameter>>,
    /// How texts of each parameter are used.
    pub(crate) file_use: BTreeMap<String, FileUse>,
}

const ENGINES: [Engine; 3] = [Engine::Wdl, Engine::Cwl, Engine::Nextflow];

/// What `definition` is, given what its author said of it; else why it is not usable.
pub(crate) fn find(
    definition: &Definition,
    engine: Option<Engine>,
    main: Option<&str>,
) -> Result<Entry, String> {
    let engine = match (engine, main) {
        (Some(engine), _) => engine,
        (None, Some(main)) => of_file(main)
            .ok_or_else(|| format!("the engine of {main:?} is not known; give engine"))?,
        (None, None) => detect(definition)?,
    };
    let main = match main {
        Some(main) if definition.files.iter().any(|file| file == main) => main.to_owned(),
        Some(main) => return Err(format!("main: there is no {main:?} in the definition zip")),
        None => find_main(definition, engine)?,
    };
    let mut entry = Entry { engine, main, name: None, template: None, file_use: BTreeMap::new() };
    if matches!(engine, Engine::Wdl | Engine::WdlLenient) {
        read_wdl(definition, &mut entry)?;
    }
    Ok(entry)
}

fn of_file(path: &str) -> Option<Engine> {
    ENGINES.into_iter().find(|engine| path.ends_with(engine.extension()))
}

fn detect(definition: &Definition) -> Result<Engine, String> {
    let mut found = ENGINES
        .into_iter()
        .filter(|engine| definition.files.iter().any(|file| file.ends_with(engine.extension())));
    match (found.next(), found.next()) {
        (Some(engine), None) => Ok(engine),
        (None, _) => Err("the definition zip holds no .wdl, .cwl or .nf file".into()),
        (Some(_), Some(_)) => {
            Err("the definition zip holds files of several engines; give engine".into())
        }
    }
}

/// The only file of the engine, or the one named `main` that lies highest.
fn find_main(definition: &Definition, engine: Engine) -> Result<String, String> {
    let of_engine = || definition.files.iter().filter(|file| file.ends_with(engine.extension()));
    let wanted = format!("main{}", engine.extension());
    let mut all = of_engine();
    if let (Some(only), None) = (all.next(), all.next()) {
        return Ok(only.clone());
    }
    let named = of_engine().filter(|file| file.rsplit('/').next() == Some(wanted.as_str()));
    named
        .min_by_key(|file| (file.matches('/').count(), file.as_str()))
        .cloned()
        .ok_or_else(|| format!("give main: no single {} file and no {wanted}", engine.extension()))
}

fn read_wdl(definition: &Definition, entry: &mut Entry) -> Result<(), String> {
    for (path, text) in &definition.sources {
        let Ok(document) = wdl::scan(text) else { continue };
        if let Some(import) = document.imports.iter().find(|import| !is_relative(import)) {
            let shown: String = import.chars().take(200).collect();
            return Err(format!("{path}: an import must lie in the definition zip: {shown:?}"));
        }
    }
    let Some((_, text)) = definition.sources.iter().find(|(path, _)| *path == entry.main) else {
        return Err(format!("{}: is not a text of at most 8 MiB", entry.main));
    };
    let document = wdl::scan(text).map_err(|error| format!("{}: {error}", entry.main))?;
    if document.entry.is_none() {
        return Err(format!("{}: declares no workflow", entry.main));
    }
    entry.name = document.entry;
    entry.file_use =
        document.inputs.iter().map(|(name, input)| (name.clone(), input.files)).collect();
    // Before WDL 1.0 inputs stand anywhere in the workflow: what was found may not be all.
    entry.template = document.versioned.then(|| {
        let parameter = |input: &wdl::WdlInput| Parameter {
            description: Some(input.wdl_type.clone()),
            optional: input.optional,
        };
        document.inputs.iter().map(|(name, input)| (name.clone(), parameter(input))).collect()
    });
    Ok(())
}

fn is_relative(import: &str) -> bool {
    !import.starts_with('/') && !import.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(files: &[(&str, &str)]) -> Definition {
        Definition {
            files: files.iter().map(|(path, _)| (*path).to_owned()).collect(),
            sources: files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect(),
        }
    }

    const WDL: &str = "version 1.0\nworkflow w { input { File a Int b = 1 } }";

    #[test]
    fn one_file_is_the_main_file() {
        let entry = find(&definition(&[("x/w.wdl", WDL), ("README.md", "")]), None, None).unwrap();
        assert_eq!((entry.engine, entry.main.as_str()), (Engine::Wdl, "x/w.wdl"));
        assert_eq!(entry.name.as_deref(), Some("w"));
        let template = entry.template.unwrap();
        assert!(!template["a"].optional && template["b"].optional);
        assert_eq!(entry.file_use["a"], FileUse::Always);
    }

    #[test]
    fn the_highest_main_is_taken_and_ambiguity_is_refused() {
        let several = [("lib/main.wdl", WDL), ("main.wdl", WDL), ("t.wdl", WDL)];
        assert_eq!(find(&definition(&several), None, None).unwrap().main, "main.wdl");
        find(&definition(&[("a.wdl", WDL), ("b.wdl", WDL)]), None, None).unwrap_err();
        find(&definition(&[("a.wdl", WDL), ("b.cwl", "")]), None, None).unwrap_err();
        find(&definition(&[("a.txt", "")]), None, None).unwrap_err();
        find(&definition(&[("a.wdl", WDL)]), None, Some("b.wdl")).unwrap_err();
    }

    #[test]
    fn an_import_from_elsewhere_is_refused() {
        for import in ["https://example.org/t.wdl", "/etc/t.wdl", "file:///t.wdl"] {
            let source = format!("version 1.0\nimport \"{import}\" as t\nworkflow w {{ }}");
            let error = find(&definition(&[("a.wdl", &source)]), None, None).unwrap_err();
            assert!(error.contains(import), "{error}");
        }
    }
}
