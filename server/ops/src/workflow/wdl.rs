//! A careful scanner of WDL documents: finds the inputs of the workflow, and no more.
//!
//! It reads words, text and brackets (WDL 1.0, 1.1 and `development`, §"Lexical elements") and knows
//! declarations; expressions are only walked over. The engine stays the judge of the document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod lexer;

use lexer::{Lexer, Token};

/// Most bytes of a document that is scanned.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// Why a document was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScanError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: &'static str,
}

/// Whether texts of an input name files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileUse {
    /// None of them: a URI in it is a text like any other.
    Never,
    /// Some may.
    Maybe,
    /// All of them.
    Always,
}

/// One input of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WdlInput {
    /// Its type, as written, without spaces.
    pub wdl_type: String,
    /// Whether a run may leave it out.
    pub optional: bool,
    /// Whether its texts name files.
    pub files: FileUse,
}

/// What was found in a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WdlDocument {
    /// Name of the workflow, or of the only task of a document without one.
    pub entry: Option<String>,
    /// Inputs of the entry, by name.
    pub inputs: BTreeMap<String, WdlInput>,
    /// What the document imports, as written.
    pub imports: Vec<String>,
    /// Whether the document names a version, as every WDL since 1.0 does.
    pub versioned: bool,
}

/// Scans `source`.
///
/// # Errors
/// [`ScanError`] at the first place that is no WDL.
pub fn scan(source: &str) -> Result<WdlDocument, ScanError> {
    if source.len() > DOCUMENT_BYTES_MAX {
        return Err(ScanError { line: 1, message: "the document is above 8 MiB" });
    }
    let tokens = Lexer::new(source).tokens()?;
    let mut walk = Walk { tokens: &tokens, at: 0 };
    let mut document = WdlDocument::default();
    let mut tasks = Vec::new();
    while let Some(word) = walk.next() {
        match word {
            Token::Word("version") => {
                document.versioned = true;
                walk.skip_version();
            }
            Token::Word("import") => {
                if let Some(Token::Text(path)) = walk.next() {
                    document.imports.push((*path).to_owned());
                }
            }
            Token::Word("workflow") => {
                let (name, inputs) = walk.section()?;
                document.entry = Some(name);
                document.inputs = inputs;
            }
            Token::Word("task") => tasks.push(walk.section()?),
            Token::Punct('{') => walk.skip_block()?,
            _ => {}
        }
    }
    if document.entry.is_none()
        && tasks.len() == 1
        && let Some((name, inputs)) = tasks.pop()
    {
        document.entry = Some(name);
        document.inputs = inputs;
    }
    Ok(document)
}

/// A position in the tokens of a document.
struct Walk<'a> {
    tokens: &'a [(usize, Token<'a>)],
    at: usize,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<&'a Token<'a>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    fn fail<T>(&self, message: &'static str) -> Result<T, ScanError> {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(line, _)| *line);
        Err(ScanError { line, message })
    }

    /// A version is one or more words and numbers on the line of its keyword.
    fn skip_version(&mut self) {
        let line = self.tokens[self.at - 1].0;
        while self.tokens.get(self.at).is_some_and(|(at, _)| *at == line) {
            self.at += 1;
        }
    }

    /// `NAME { … }` of a workflow or task, and the declarations of its input section.
    fn section(&mut self) -> Result<(String, BTreeMap<String, WdlInput>), ScanError> {
        let Some(Token::Word(name)) = self.next() else {
            return self.fail("a name was expected");
        };
        self.open()?;
        let mut inputs = BTreeMap::new();
        loop {
            match self.next() {
                Some(Token::Word("input")) if self.peek() == Some(&Token::Punct('{')) => {
                    self.open()?;
                    inputs = self.declarations()?;
                }
                Some(Token::Punct('{')) => self.skip_block()?,
                Some(Token::Punct('}')) => return Ok(((*name).to_owned(), inputs)),
                Some(_) => {}
                None => return self.fail("the document ends inside a section"),
            }
        }
    }

    fn open(&mut self) -> Result<(), ScanError> {
        match self.next() {
            Some(Token::Punct('{')) => Ok(()),
            _ => self.fail("an opening brace was expected"),
        }
    }

    /// Skips to the brace that closes the one just read.
    fn skip_block(&mut self) -> Result<(), ScanError> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next() {
                Some(Token::Punct('{')) => depth += 1,
                Some(Token::Punct('}')) => depth -= 1,
                Some(_) => {}
                None => return self.fail("the document ends inside a block"),
            }
        }
        Ok(())
    }

    fn declarations(&mut self) -> Result<BTreeMap<String, WdlInput>, ScanError> {
        let mut inputs = BTreeMap::new();
        loop {
            if self.peek() == Some(&Token::Punct('}')) {
                self.at += 1;
                return Ok(inputs);
            }
            // WDL 1.2 allows `env` before a declaration.
            if self.peek() == Some(&Token::Word("env")) {
                self.at += 1;
            }
            let (wdl_type, files) = self.declared_type()?;
            let Some(Token::Word(name)) = self.next() else {
                return self.fail("the name of an input was expected");
            };
            let mut optional = wdl_type.ends_with('?');
            if self.peek() == Some(&Token::Punct('=')) {
                self.at += 1;
                optional = true;
                self.skip_expression()?;
            }
            let input = WdlInput { wdl_type, optional, files };
            if inputs.insert((*name).to_owned(), input).is_some() {
                return self.fail("two inputs bear the same name");
            }
        }
    }

    fn declared_type(&mut self) -> Result<(String, FileUse), ScanError> {
        let Some(Token::Word(word)) = self.next() else {
            return self.fail("the type of an input was expected");
        };
        let mut text = (*word).to_owned();
        let mut words = vec![*word];
        if self.peek() == Some(&Token::Punct('[')) {
            let mut depth = 0_usize;
            loop {
                match self.next() {
                    Some(Token::Word(word)) => {
                        words.push(word);
                        text.push_str(word);
                    }
                    Some(Token::Punct(mark)) if "[],?+".contains(*mark) => {
                        text.push(*mark);
                        match mark {
                            '[' => depth += 1,
                            ']' => depth -= 1,
                            _ => {}
                        }
                        if depth == 0 {
                            break;
                        }
                    }
                    _ => return self.fail("the type of an input is not complete"),
                }
            }
        }
        while let Some(Token::Punct(mark @ ('?' | '+'))) = self.peek() {
            text.push(*mark);
            self.at += 1;
        }
        Ok((text, file_use(&words)))
    }

    /// Walks over an expression: it ends where an operand stands beside another one, which is where the
    /// next declaration begins, or at the brace that closes the section.
    fn skip_expression(&mut self) -> Result<(), ScanError> {
        let mut depth = 0_usize;
        let mut complete = false;
        loop {
            match self.peek() {
                None => return self.fail("the document ends inside an expression"),
                Some(Token::Punct('}')) if depth == 0 && complete => return Ok(()),
                Some(Token::Word("then" | "else")) => complete = false,
                Some(Token::Word("if")) if !complete => {}
                Some(Token::Word(_) | Token::Text(_) | Token::Number) => {
                    if complete && depth == 0 {
                        return Ok(());
                    }
                    complete = true;
                }
                Some(Token::Punct('(' | '[' | '{')) => {
                    depth += 1;
                    complete = false;
                }
                Some(Token::Punct(')' | ']' | '}')) => {
                    let Some(outer) = depth.checked_sub(1) else {
                        return self.fail("a bracket closes that was not opened");
                    };
                    depth = outer;
                    complete = true;
                }
                Some(Token::Punct(_)) => complete = false,
            }
            self.at += 1;
        }
    }
}

fn file_use(words: &[&str]) -> FileUse {
    const PLAIN: [&str; 7] = ["Array", "Map", "Pair", "String", "Int", "Float", "Boolean"];
    let is_file = |word: &&str| matches!(*word, "File" | "Directory");
    if words.iter().all(|word| is_file(word) || *word == "Array") && words.iter().any(is_file) {
        FileUse::Always
    } else if words.iter().all(|word| PLAIN.contains(word)) {
        FileUse::Never
    } else {
        FileUse::Maybe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIGN: &str = r#"
version 1.1
import "tasks/align.wdl" as align   # a comment with { and "
import 'http://example.org/x.wdl'

struct Sample { String name File reads }

workflow align_reads {
    meta { description: "has a } in text and ~{ braces { } }" }
    input {
        File reads_1
        File? reads_2
        Array[File]+ references
        String label = "s-~{if true then "}" else 'x'}-end"
        Int threads = if defined(reads_2) then 4 else length([1, 2]) + 1
        Map[String, Int] limits = {"a": 1, "b": -2}
        Sample sample = Sample { name: "n", reads: reads_1 }
        Float ratio = 1.5e-3 Boolean strict = !false && (true || false)
        Pair[String, File]? pair
        String uri
    }
    call align.bwa { input: reads = reads_1 }
    output { File bam = bwa.bam }
}

task unrelated {
    input { Int other }
    command <<< awk '{ print "}" }' ~{other} >>>
}
"#;

    #[test]
    fn finds_inputs_of_a_workflow() {
        let document = scan(ALIGN).unwrap();
        assert_eq!(document.entry.as_deref(), Some("align_reads"));
        assert_eq!(document.imports, ["tasks/align.wdl", "http://example.org/x.wdl"]);
        assert!(document.versioned);
        let required: Vec<_> =
            document.inputs.iter().filter(|(_, i)| !i.optional).map(|(n, _)| n.as_str()).collect();
        assert_eq!(required, ["reads_1", "references", "uri"]);
        assert_eq!(document.inputs.len(), 11);
        assert_eq!(document.inputs["references"].wdl_type, "Array[File]+");
        let files = |name: &str| document.inputs[name].files;
        assert_eq!(files("reads_1"), FileUse::Always);
        assert_eq!(files("references"), FileUse::Always);
        assert_eq!(files("pair"), FileUse::Maybe);
        assert_eq!(files("sample"), FileUse::Maybe);
        assert_eq!(files("uri"), FileUse::Never);
    }

    #[test]
    fn takes_the_only_task_of_a_document_without_workflow() {
        let document =
            scan("version 1.0\ntask t { input { File a } command { echo ${a} } }").unwrap();
        assert_eq!(document.entry.as_deref(), Some("t"));
        assert!(document.inputs.contains_key("a"));
    }

    #[test]
    fn a_document_cut_anywhere_never_panics() {
        for end in 0..ALIGN.len() {
            if ALIGN.is_char_boundary(end) {
                let _ = scan(&ALIGN[..end]);
            }
        }
    }

    #[test]
    fn hostile_documents_are_errors() {
        let deep =
            format!("version 1.0\nworkflow w {{ input {{ String s = \"{}", "~{\"".repeat(9000));
        for source in [
            "version 1.0\nworkflow w { input { File",
            "version 1.0\nworkflow w { input { Array[File x } }",
            "version 1.0\nworkflow w { input { Int a = ) } }",
            "version 1.0\nworkflow w { input { Int a Int a } }",
            "version 1.0\nworkflow w { input { String s = \"open } }",
            "version 1.0\ntask t { command <<< never closed",
            deep.as_str(),
        ] {
            scan(source).expect_err(&source[..source.len().min(60)]);
        }
    }
}
