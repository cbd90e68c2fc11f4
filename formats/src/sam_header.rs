//! The text of a SAM header (SAM specification §1.3): facts, and faults with their line.

mod check;
mod fields;

use std::collections::{HashMap, HashSet};

use readvault_inspect_protocol::{HeaderFacts, ProgramFact, ReadGroupFact, SequenceFact};

use self::fields::Fields;

/// Longest sequence that SAM can name.
const SEQUENCE_LENGTH_MAX: u64 = (1 << 31) - 1;

/// A fault of a header: its line, from 1, and what is wrong.
#[derive(Debug, Eq, PartialEq)]
pub struct HeaderFault {
    /// Line, from 1.
    pub line: u64,
    /// What is wrong, without quoting sample or library names.
    pub reason: String,
}

/// Parses and checks a header.
///
/// # Errors
/// The first fault.
pub fn parse(text: &[u8]) -> Result<HeaderFacts, HeaderFault> {
    let mut parser = Parser::default();
    // BAM writers may pad the text with NUL bytes.
    let padding = text.iter().rev().take_while(|byte| **byte == 0).count();
    let text = &text[..text.len() - padding];
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Ok(parser.facts);
    }
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index as u64 + 1;
        parser.line(number, line).map_err(|reason| HeaderFault { line: number, reason })?;
    }
    parser.finish()
}

#[derive(Default)]
struct Parser {
    facts: HeaderFacts,
    sequence_names: HashSet<String>,
    other_names: Vec<(u64, String)>,
    read_groups: HashSet<String>,
    programs: HashMap<String, u64>,
    program_lines: Vec<u64>,
}

impl Parser {
    fn line(&mut self, number: u64, line: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        let Some((kind, rest)) = text.strip_prefix('@').and_then(|text| text.split_at_checked(2))
        else {
            return Err("it does not begin with @ and two letters".into());
        };
        if kind == "CO" {
            return Ok(());
        }
        let fields = Fields::parse(rest).map_err(|what| format!("@{kind}: {what}"))?;
        match kind {
            "HD" => self.file_header(number, &fields),
            "SQ" => self.sequence(number, &fields),
            "RG" => self.read_group(&fields),
            "PG" => self.program(number, &fields),
            _ if kind.bytes().all(|byte| byte.is_ascii_alphabetic()) => Ok(()),
            _ => Err("its record type is not two letters".into()),
        }
        .map_err(|what| format!("@{kind}: {what}"))
    }

    fn file_header(&mut self, number: u64, fields: &Fields<'_>) -> Result<(), String> {
        if number != 1 {
            return Err("it is not the first line".into());
        }
        check::version(fields.required("VN")?)?;
        if let Some(order) = fields.get("SO") {
            check::one_of("SO", order, &["unknown", "unsorted", "queryname", "coordinate"])?;
        }
        if let Some(order) = fields.get("GO") {
            check::one_of("GO", order, &["none", "query", "reference"])?;
        }
        if let Some(order) = fields.get("SS") {
            check::sub_sort(order)?;
        }
        self.facts.sort_order = fields.get("SO").map(str::to_owned);
        self.facts.group_order = fields.get("GO").map(str::to_owned);
        Ok(())
    }

    fn sequence(&mut self, number: u64, fields: &Fields<'_>) -> Result<(), String> {
        let name = fields.required("SN")?;
        if !check::is_sequence_name(name) {
            return Err("SN is not a sequence name that SAM allows".into());
        }
        let length = fields.required("LN")?;
        let length = length
            .parse()
            .ok()
            .filter(|length| (1..=SEQUENCE_LENGTH_MAX).contains(length))
            .ok_or("LN is not a number from 1 to 2147483647")?;
        if let Some(md5) = fields.get("M5") {
            check::md5(md5)?;
        }
        if !self.sequence_names.insert(name.to_owned()) {
            return Err("SN repeats the name of an earlier sequence".into());
        }
        for other in fields.get("AN").into_iter().flat_map(|names| names.split(',')) {
            if !check::is_sequence_name(other) {
                return Err("AN has a name that SAM does not allow".into());
            }
            self.other_names.push((number, other.to_owned()));
        }
        let md5 = fields.get("M5").map(str::to_owned);
        self.facts.sequences.push(SequenceFact { name: name.to_owned(), length, md5 });
        Ok(())
    }

    fn read_group(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let id = fields.required("ID")?;
        if !self.read_groups.insert(id.to_owned()) {
            return Err("ID repeats that of an earlier read group".into());
        }
        if let Some(date) = fields.get("DT") {
            check::date(date)?;
        }
        if let Some(platform) = fields.get("PL") {
            check::platform(platform)?;
        }
        let field = |tag| fields.get(tag).map(str::to_owned);
        self.facts.read_groups.push(ReadGroupFact {
            id: id.to_owned(),
            sample: field("SM"),
            library: field("LB"),
            platform: field("PL"),
        });
        Ok(())
    }

    fn program(&mut self, number: u64, fields: &Fields<'_>) -> Result<(), String> {
        let id = fields.required("ID")?;
        if self.programs.insert(id.to_owned(), number).is_some() {
            return Err("ID repeats that of an earlier program".into());
        }
        let previous = fields.get("PP").map(str::to_owned);
        self.facts.programs.push(ProgramFact { id: id.to_owned(), previous });
        self.program_lines.push(number);
        Ok(())
    }

    /// Checks what needs the whole header: alternative names and the chain of programs.
    fn finish(mut self) -> Result<HeaderFacts, HeaderFault> {
        for (line, name) in self.other_names {
            if !self.sequence_names.insert(name) {
                let reason = "@SQ: AN repeats a name of this header".into();
                return Err(HeaderFault { line, reason });
            }
        }
        for (program, line) in self.facts.programs.iter().zip(self.program_lines) {
            let known = |id: &String| self.programs.contains_key(id);
            if !program.previous.as_ref().is_none_or(known) {
                let reason = "@PG: PP names a program that is not there".into();
                return Err(HeaderFault { line, reason });
            }
        }
        Ok(self.facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read() {
        let text =
            b"@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:c1\tLN:9\tM5:7fc56270e7a70fa81a5935b72eacbe29\n\
            @RG\tID:a\tSM:s\tPL:illumina\n@PG\tID:p\n@PG\tID:q\tPP:p\n@CO\tfree text\n";
        let facts = parse(text).unwrap();
        assert_eq!(facts.sort_order.as_deref(), Some("coordinate"));
        assert_eq!(facts.sequences[0].length, 9);
        assert_eq!(facts.read_groups[0].sample.as_deref(), Some("s"));
        assert_eq!(facts.programs[1].previous.as_deref(), Some("p"));
        assert_eq!(parse(b"").unwrap(), HeaderFacts::default());
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, fragment) in [
            (&b"@HD\tSO:coordinate\n"[..], 1, "VN"),
            (b"@HD\tVN:1.6\tSO:query\n", 1, "SO"),
            (b"@HD\tVN:1.6\tSS:unknown:MI\n", 1, "SS"),
            (b"@SQ\tSN:r\tLN:1\n@HD\tVN:1.6\n", 2, "first line"),
            (b"@SQ\tSN:<c>\tLN:1\n", 1, "sequence name"),
            (b"@SQ\tSN:r\n", 1, "LN"),
            (b"@SQ\tSN:r\tLN:1\n@SQ\tSN:r\tLN:1\n", 2, "repeats"),
            (b"@SQ\tSN:r\tLN:1\tLN:2\n", 1, "twice"),
            (b"@SQ\tSN:r\tLN:1\tM5:00\n", 1, "M5"),
            (b"@SQ\tSN:a\tLN:1\tAN:b\n@SQ\tSN:b\tLN:1\n", 1, "AN"),
            (b"@RG\tID:1\tDT:Tuesday\n", 1, "DT"),
            (b"@RG\tID:1\tPL:UNKNOWN\n", 1, "PL"),
            (b"@PG\tID:a\tPP:b\n", 1, "PP"),
            (b"@CO\n\n@CO\n", 2, "begin with @"),
            (b"@\xff\xff\n", 1, "UTF-8"),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{fault:?}");
            assert!(fault.reason.contains(fragment), "{fault:?} should name {fragment}");
        }
    }
}
