//! Tokens of GetLogEvents: which way, and a place in the stream. They open nothing that the request does
//! not name, so they are plain.

use readvault_ops::run_log::events::{Direction, Position};

use super::invalid;
use crate::error::ApiError;

/// The token that goes on upwards from `position`.
pub(super) fn forward(position: Position) -> String {
    format!("f/{:016x}/{:08x}", position.row, position.line)
}

/// The token that goes on downwards from `position`.
pub(super) fn backward(position: Position) -> String {
    format!("b/{:016x}/{:08x}", position.row, position.line)
}

/// What `token` says.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn read(token: &str) -> Result<Direction, ApiError> {
    let wrong = || invalid("nextToken is not of this operation");
    let mut parts = token.splitn(3, '/');
    let way = parts.next();
    let mut number = || {
        let text = parts.next().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(wrong)
    };
    let position = Position { row: number()?, line: number()? };
    match way {
        Some("f") => Ok(Direction::From(position)),
        Some("b") => Ok(Direction::Before(position)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let position = Position { row: 0x1234, line: 7 };
        assert_eq!(read(&forward(position)).ok(), Some(Direction::From(position)));
        assert_eq!(read(&backward(position)).ok(), Some(Direction::Before(position)));
        for bad in ["", "f", "f/", "f/1", "x/1/2", "f/+1/2", "f/1/2/3", "f/zz/1", "f//"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
