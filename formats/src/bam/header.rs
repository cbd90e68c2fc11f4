//! Magic, header text and binary dictionary (SAM specification §4.2).

use readvault_inspect_protocol::{HeaderFacts, Limits, SequenceFact};

use crate::{
    fault::{Fault, Result},
    fields::Fields,
    sam_header,
};

/// The binary dictionary.
pub(super) struct Dictionary {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) lengths: Vec<u32>,
    pub(super) notes: Vec<String>,
}

/// Reads the header. Facts carry the dictionary even where the text has no `@SQ` line.
pub(super) fn read(fields: &mut Fields, limits: &Limits) -> Result<(HeaderFacts, Dictionary)> {
    let magic = fields.take(4)?;
    if magic != b"BAM\x01" {
        return Err(fields.fault(None, "the BAM magic is missing".into()));
    }
    let text_length = take_length(fields, "l_text", limits.header_bytes_max)?;
    let text = take_whole(fields, text_length, "the header text")?;
    let mut facts = match sam_header::parse(text) {
        Ok(facts) => facts,
        Err(fault) => {
            let reason = format!("header line {}: {}", fault.line, fault.reason);
            return Err(fields.fault(None, reason));
        }
    };
    let dictionary = read_dictionary(fields, limits)?;
    if facts.sequences.is_empty() {
        facts.sequences = sequences(&dictionary);
    } else {
        compare(&facts.sequences, &dictionary).map_err(|reason| fields.fault(None, reason))?;
    }
    Ok((facts, dictionary))
}

fn read_dictionary(fields: &mut Fields, limits: &Limits) -> Result<Dictionary> {
    let count = take_length(fields, "n_ref", limits.header_bytes_max / 9)?;
    let mut dictionary = Dictionary { names: Vec::new(), lengths: Vec::new(), notes: Vec::new() };
    let mut bytes_left = limits.header_bytes_max;
    for number in 1..=count {
        let length = take_length(fields, "l_name", bytes_left)?;
        bytes_left -= length;
        let name = take_whole(fields, length, "the dictionary")?;
        let Some((0, name)) = name.split_last() else {
            let reason = format!("dictionary entry {number}: its name does not end in NUL");
            return Err(fields.fault(None, reason));
        };
        if name.is_empty() || name.contains(&0) {
            let reason = format!("dictionary entry {number}: its name is empty or holds a NUL");
            return Err(fields.fault(None, reason));
        }
        let name = name.to_vec();
        let length = take_length(fields, "l_ref", i32::MAX as usize)?;
        dictionary.names.push(name);
        dictionary.lengths.push(length as u32);
    }
    Ok(dictionary)
}

/// A length field, which the format keeps below 2^31.
fn take_length(fields: &mut Fields, what: &str, max: usize) -> Result<usize> {
    let bytes = fields.take(4)?;
    let Ok(bytes) = bytes.try_into() else {
        return Err(fields.fault(None, format!("the header is cut at {what}")));
    };
    let length = u32::from_le_bytes(bytes) as usize;
    if length > max {
        return Err(fields.fault(None, format!("{what} is {length}, more than {max}")));
    }
    Ok(length)
}

fn take_whole<'a>(fields: &'a mut Fields, length: usize, what: &str) -> Result<&'a [u8]> {
    let got = fields.take(length)?.len();
    if got < length {
        return Err(fields.fault(None, format!("{what} is cut: {got} of {length} bytes")));
    }
    Ok(fields.taken(length))
}

fn sequences(dictionary: &Dictionary) -> Vec<SequenceFact> {
    let pairs = dictionary.names.iter().zip(&dictionary.lengths);
    pairs
        .map(|(name, length)| SequenceFact {
            name: String::from_utf8_lossy(name).into_owned(),
            length: u64::from(*length),
            md5: None,
        })
        .collect()
}

/// Text and binary list must name the same sequences in the same order.
fn compare(text: &[SequenceFact], dictionary: &Dictionary) -> std::result::Result<(), String> {
    if text.len() != dictionary.names.len() {
        let (text, binary) = (text.len(), dictionary.names.len());
        return Err(format!("the header has {text} @SQ lines, the dictionary {binary} entries"));
    }
    let binary = dictionary.names.iter().zip(&dictionary.lengths);
    for (number, (fact, (name, length))) in (1..).zip(text.iter().zip(binary)) {
        let number: u64 = number;
        if fact.name.as_bytes() != &name[..] {
            return Err(format!("@SQ line {number} and dictionary entry {number} differ in name"));
        }
        if fact.length != u64::from(*length) {
            return Err(format!(
                "@SQ line {number} has length {}, its dictionary entry {length}",
                fact.length
            ));
        }
    }
    Ok(())
}

impl From<sam_header::HeaderFault> for Fault {
    fn from(fault: sam_header::HeaderFault) -> Self {
        let reason = format!("header line {}: {}", fault.line, fault.reason);
        let place =
            readvault_inspect_protocol::Place { line: Some(fault.line), ..Default::default() };
        Self::at(place, reason)
    }
}
