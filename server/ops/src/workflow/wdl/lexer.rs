//! Words, texts, numbers and marks of a WDL document. Comments and commands are left out.

use super::ScanError;

/// Most placeholders and texts inside each other.
const NESTING_MAX: usize = 64;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or keyword.
    Word(&'a str),
    /// A text, without its quotes; placeholders stand in it as written.
    Text(&'a str),
    /// A number.
    Number,
    /// Any other character.
    Punct(char),
}

/// Cuts a document into tokens.
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, at: 0, line: 1 }
    }

    /// All tokens, each with its line.
    pub(super) fn tokens(mut self) -> Result<Vec<(usize, Token<'a>)>, ScanError> {
        let mut tokens = Vec::new();
        while let Some(first) = self.rest().chars().next() {
            let (line, start) = (self.line, self.at);
            match first {
                '#' => self.skip_while(|c| c != '\n'),
                c if c.is_whitespace() => self.bump(c),
                '"' | '\'' => {
                    self.text(0)?;
                    tokens.push((line, Token::Text(&self.source[start + 1..self.at - 1])));
                }
                c if c.is_ascii_digit() => {
                    self.skip_while(|c| c.is_ascii_alphanumeric() || c == '.');
                    tokens.push((line, Token::Number));
                }
                c if c.is_alphabetic() || c == '_' => {
                    self.skip_while(|c| c.is_alphanumeric() || c == '_');
                    let word = &self.source[start..self.at];
                    if word == "command" && self.command()? {
                        continue;
                    }
                    tokens.push((line, Token::Word(word)));
                }
                _ if self.rest().starts_with("<<<") => {
                    self.heredoc()?;
                    tokens.push((line, Token::Text(&self.source[start + 3..self.at - 3])));
                }
                c => {
                    self.bump(c);
                    tokens.push((line, Token::Punct(c)));
                }
            }
        }
        Ok(tokens)
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn bump(&mut self, c: char) {
        self.line += usize::from(c == '\n');
        self.at += c.len_utf8();
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while let Some(c) = self.rest().chars().next().filter(|c| keep(*c)) {
            self.bump(c);
        }
    }

    fn fail<T>(&self, message: &'static str) -> Result<T, ScanError> {
        Err(ScanError { line: self.line, message })
    }

    /// The body of a `command` section, if one follows.
    fn command(&mut self) -> Result<bool, ScanError> {
        let (at, line) = (self.at, self.line);
        self.skip_while(char::is_whitespace);
        if self.rest().starts_with("<<<") {
            self.heredoc()?;
            return Ok(true);
        }
        if !self.rest().starts_with('{') {
            (self.at, self.line) = (at, line);
            return Ok(false);
        }
        self.bump('{');
        loop {
            match self.rest().chars().next() {
                None => return self.fail("the document ends inside a command"),
                Some('}') => {
                    self.bump('}');
                    return Ok(true);
                }
                Some(_) if self.at_placeholder() => self.placeholder(0)?,
                Some('\\') => self.escape(),
                Some(c) => self.bump(c),
            }
        }
    }

    fn heredoc(&mut self) -> Result<(), ScanError> {
        self.at += 3;
        loop {
            match self.rest().chars().next() {
                None => return self.fail("the document ends inside <<< >>>"),
                Some('>') if self.rest().starts_with(">>>") => {
                    self.at += 3;
                    return Ok(());
                }
                Some('~') if self.rest().starts_with("~{") => self.placeholder(0)?,
                Some('\\') => self.escape(),
                Some(c) => self.bump(c),
            }
        }
    }

    fn escape(&mut self) {
        self.bump('\\');
        if let Some(c) = self.rest().chars().next() {
            self.bump(c);
        }
    }

    fn at_placeholder(&self) -> bool {
        self.rest().starts_with("~{") || self.rest().starts_with("${")
    }

    /// A text from its opening to its closing quote.
    fn text(&mut self, nesting: usize) -> Result<(), ScanError> {
        if nesting > NESTING_MAX {
            return self.fail("texts and placeholders are nested too deeply");
        }
        let quote = self.rest().chars().next().unwrap_or('"');
        self.bump(quote);
        loop {
            match self.rest().chars().next() {
                None | Some('\n') => return self.fail("a text is not closed"),
                Some(c) if c == quote => {
                    self.bump(c);
                    return Ok(());
                }
                Some('\\') => self.escape(),
                Some(_) if self.at_placeholder() => self.placeholder(nesting + 1)?,
                Some(c) => self.bump(c),
            }
        }
    }

    /// A placeholder from `~{` or `${` to its closing brace.
    fn placeholder(&mut self, nesting: usize) -> Result<(), ScanError> {
        self.at += 2;
        let mut depth = 1_usize;
        while depth > 0 {
            match self.rest().chars().next() {
                None => return self.fail("a placeholder is not closed"),
                Some('"' | '\'') => self.text(nesting + 1)?,
                Some(c) => {
                    depth += usize::from(c == '{');
                    depth -= usize::from(c == '}');
                    self.bump(c);
                }
            }
        }
        Ok(())
    }
}
