//! Time, size and digests as people write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds: since 1970 where it is a moment, a span where it is one.
pub type Millis = i64;

/// The moment, by the system clock.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// Reads `500ms`, `10s`, `5m`, `24h` or `7d`.
pub fn parse_duration(text: &str) -> Option<Millis> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads `1MiB`, `512KiB` or `300B`, in bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    u64::try_from(number).ok()?.checked_mul(factor)
}

/// Two digits a byte, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn split(text: &str) -> Option<(i64, &str)> {
    let digits = text.find(|char: char| !char.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("24h", Some(86_400_000)),
            ("7 d", Some(604_800_000)),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("9223372036854775807d", None),
            ("10 minutes", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, expected) in [("1MiB", Some(1 << 20)), ("300B", Some(300)), ("1MB", None), ("1", None)] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}
