//! Numbers as SAM text has them.

use std::io::Write;

/// Appends `value` in decimal.
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    let mut rest = value.unsigned_abs();
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `value` as `samtools view` prints a float: six significant digits, no trailing zero,
/// an exponent outside 0.0001 to 999999. Inside that range a half rounds up in decimal, from the
/// value cut after ten decimals; outside it rounds as C's `%g` does.
pub(crate) fn push_float(out: &mut Vec<u8>, value: f32) {
    let wide = f64::from(value);
    if !wide.is_finite() {
        let text: &[u8] = match (wide.is_nan(), wide.is_sign_negative()) {
            (true, false) => b"nan",
            (true, true) => b"-nan",
            (false, false) => b"inf",
            (false, true) => b"-inf",
        };
        out.extend_from_slice(text);
        return;
    }
    if wide.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = wide.abs();
    if magnitude == 0.0 {
        out.push(b'0');
    } else if (0.0001..=999_999.0).contains(&magnitude) {
        push_fixed(out, magnitude);
    } else {
        push_exponent(out, magnitude);
    }
}

fn push_fixed(out: &mut Vec<u8>, magnitude: f64) {
    const DECIMALS: usize = 10;
    const SIGNIFICANT: usize = 6;
    let scaled = (magnitude * 1e10) as u64;
    let length = scaled.checked_ilog10().map_or(0, |log| log as usize + 1);
    let half = 5 * 10_u64.pow(length.saturating_sub(SIGNIFICANT + 1) as u32);
    let rounded = scaled + if length > SIGNIFICANT { half } else { 0 };
    let digits = format!("{rounded:0width$}", width = DECIMALS + 1);
    let (whole, fraction) = digits.split_at(digits.len() - DECIMALS);
    out.extend_from_slice(whole.as_bytes());
    let leading_zeros = fraction.bytes().take_while(|digit| *digit == b'0').count();
    let kept = if whole == "0" {
        leading_zeros + SIGNIFICANT
    } else {
        SIGNIFICANT.saturating_sub(whole.len())
    };
    let fraction = fraction[..kept.min(DECIMALS)].trim_end_matches('0');
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

fn push_exponent(out: &mut Vec<u8>, magnitude: f64) {
    let text = format!("{magnitude:.5e}");
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if exponent == -4 {
        // Only a value that rounds up to 0.0001 gets here, and that needs no exponent.
        out.extend_from_slice(b"0.0001");
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let exponent = exponent.abs();
    write!(out, "{mantissa}e{sign}{exponent:02}").expect("a vector takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        push_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_read_as_samtools_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.0001, "0.0001"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (3.251_592_7, "3.25159"),
            (123_456.78, "123457"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1.5e-7, "1.5e-07"),
            (0.000_123_456_7, "0.000123457"),
            (9.999_999_9, "10"),
            (65_000.0, "65000"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn integers_cover_their_range() {
        for value in [0, 7, -7, 10, i64::from(u32::MAX), i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            push_int(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }
}
