//! A decoded CRAM record as a line of SAM text: stored tags in stored order, none made up.

use std::io;

use noodles::sam::{
    self,
    alignment::{
        Record,
        record::{
            cigar::op::Kind,
            data::field::{
                Value,
                value::{Array, array::Values},
            },
        },
    },
};

use crate::number_text::{push_float, push_int};

/// Appends the line with its newline to `out`; returns the number of bases.
pub(super) fn write(
    header: &sam::Header,
    record: &impl Record,
    out: &mut Vec<u8>,
) -> io::Result<u64> {
    out.extend_from_slice(record.name().map_or(b"*", |name| name.as_ref()));
    push_field(out, i64::from(record.flags()?.bits()));
    let id = record.reference_sequence_id(header).transpose()?;
    out.push(b'\t');
    out.extend_from_slice(reference_name(header, id)?);
    let start = record.alignment_start().transpose()?;
    push_field(out, start.map_or(Ok(0), |start| to_int(start.get()))?);
    // CRAM stores a mapping quality of mapped reads only. SAM writes 255 where one is missing.
    let missing = if record.flags()?.is_unmapped() { 0 } else { 255 };
    let quality = record.mapping_quality().transpose()?.map_or(missing, u8::from);
    push_field(out, i64::from(quality));
    write_cigar(record, out)?;
    let mate_id = record.mate_reference_sequence_id(header).transpose()?;
    out.push(b'\t');
    if mate_id.is_some() && mate_id == id {
        out.push(b'=');
    } else {
        out.extend_from_slice(reference_name(header, mate_id)?);
    }
    let mate_start = record.mate_alignment_start().transpose()?;
    push_field(out, mate_start.map_or(Ok(0), |start| to_int(start.get()))?);
    push_field(out, i64::from(record.template_length()?));
    let base_count = write_bases(record, out)?;
    for field in record.data().iter() {
        let (tag, value) = field?;
        // Some writers of CRAM keep notes to themselves in this tag; it is none of the record's.
        if tag.as_ref() == b"cF" {
            continue;
        }
        out.push(b'\t');
        out.extend_from_slice(tag.as_ref());
        write_value(&value, out)?;
    }
    out.push(b'\n');
    Ok(base_count)
}

fn write_cigar(record: &impl Record, out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'\t');
    let start = out.len();
    for operation in record.cigar().iter() {
        let operation = operation?;
        push_int(out, to_int(operation.len())?);
        out.push(match operation.kind() {
            Kind::Match => b'M',
            Kind::Insertion => b'I',
            Kind::Deletion => b'D',
            Kind::Skip => b'N',
            Kind::SoftClip => b'S',
            Kind::HardClip => b'H',
            Kind::Pad => b'P',
            Kind::SequenceMatch => b'=',
            Kind::SequenceMismatch => b'X',
        });
    }
    if out.len() == start {
        out.push(b'*');
    }
    Ok(())
}

fn write_bases(record: &impl Record, out: &mut Vec<u8>) -> io::Result<u64> {
    out.push(b'\t');
    let start = out.len();
    out.extend(record.sequence().iter());
    let base_count = out.len() - start;
    if base_count == 0 {
        out.push(b'*');
    }
    out.push(b'\t');
    let start = out.len();
    for score in record.quality_scores().iter() {
        out.push(score?.wrapping_add(33));
    }
    // A first value of 255 says that there are none.
    if out.len() == start || out[start] == 32 {
        out.truncate(start);
        out.push(b'*');
    }
    Ok(base_count as u64)
}

fn write_value(value: &Value<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Value::Character(letter) => out.extend_from_slice(&[b':', b'A', b':', *letter]),
        Value::Float(number) => {
            out.extend_from_slice(b":f:");
            push_float(out, *number);
        }
        Value::String(text) => {
            out.extend_from_slice(b":Z:");
            out.extend_from_slice(text);
        }
        Value::Hex(text) => {
            out.extend_from_slice(b":H:");
            out.extend_from_slice(text);
        }
        Value::Array(array) => {
            out.extend_from_slice(b":B:");
            write_array(array, out)?;
        }
        number => {
            out.extend_from_slice(b":i:");
            push_int(out, number.as_int().unwrap_or_default());
        }
    }
    Ok(())
}

fn write_array(array: &Array<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    match array {
        Array::Int8(values) => write_ints(b'c', &**values, out),
        Array::UInt8(values) => write_ints(b'C', &**values, out),
        Array::Int16(values) => write_ints(b's', &**values, out),
        Array::UInt16(values) => write_ints(b'S', &**values, out),
        Array::Int32(values) => write_ints(b'i', &**values, out),
        Array::UInt32(values) => write_ints(b'I', &**values, out),
        Array::Float(values) => {
            out.push(b'f');
            for value in values.iter() {
                out.push(b',');
                push_float(out, value?);
            }
            Ok(())
        }
    }
}

fn write_ints<'a, N: Into<i64> + 'a>(
    subtype: u8,
    values: &(dyn Values<'a, N> + 'a),
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.push(subtype);
    for value in values.iter() {
        out.push(b',');
        push_int(out, value?.into());
    }
    Ok(())
}

fn reference_name(header: &sam::Header, id: Option<usize>) -> io::Result<&[u8]> {
    let Some(id) = id else { return Ok(b"*") };
    header
        .reference_sequences()
        .get_index(id)
        .map(|(name, _)| name.as_ref())
        .ok_or_else(|| invalid("a record names an unknown sequence"))
}

fn push_field(out: &mut Vec<u8>, value: i64) {
    out.push(b'\t');
    push_int(out, value);
}

fn to_int(value: usize) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| invalid("a number is too large"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
