//! Time, size and digests as people write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds: since 1970 where it is a moment, a span where it is one.
pub type Millis = i64;

/// The moment, by the system clock.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// A unit, and how much one of it is.
type Unit = (&'static str, i64);
const DURATIONS: [Unit; 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [Unit; 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const RATES: [Unit; 1] = [("/s", 1)];

/// Reads `500ms`, `10s`, `5m`, `24h` or `7d`.
pub fn parse_duration(text: &str) -> Option<Millis> {
    parse(text, &DURATIONS)
}

/// Reads `1MiB`, `512KiB` or `300B`, in bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)?.try_into().ok()
}

/// Reads `60/s`.
pub fn parse_rate(text: &str) -> Option<u64> {
    parse(text, &RATES)?.try_into().ok()
}

/// A regular expression of every duration above zero.
pub fn duration_pattern() -> String {
    pattern(&DURATIONS)
}

/// A regular expression of every size above zero.
pub fn size_pattern() -> String {
    pattern(&SIZES)
}

/// A regular expression of every rate above zero.
pub fn rate_pattern() -> String {
    pattern(&RATES)
}

/// A moment as RFC 3339 writes it, in UTC and always as long.
pub fn timestamp(moment: Millis) -> String {
    // Beyond the year 9999 there is no way to write it.
    let moment = jiff::Timestamp::from_millisecond(moment).unwrap_or(jiff::Timestamp::MAX);
    format!("{moment:.3}")
}

/// A moment in JSON: RFC 3339, in UTC.
pub mod moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Millis, timestamp};

    pub fn serialize<S: Serializer>(moment: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timestamp(*moment))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(D::Error::custom)
    }
}

/// The same where there may be none.
pub mod maybe_moment {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Millis, moment};

    #[derive(Serialize, Deserialize)]
    struct Moment(#[serde(with = "moment")] Millis);

    pub fn serialize<S: Serializer>(moment: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
        moment.map(Moment).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(|Moment(moment)| moment))
    }
}

/// Two digits a byte, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Digits, perhaps spaces, and a unit.
fn parse(text: &str, units: &[Unit]) -> Option<i64> {
    let (digits, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    digits.parse::<i64>().ok()?.checked_mul(*factor)
}

fn pattern(units: &[Unit]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    format!("0*[1-9][0-9]* *({})", names.join("|"))
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
            ("10\ts", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn moments_are_written_in_utc() {
        for (moment, expected) in [(1_500, "1970-01-01T00:00:01.500Z"), (i64::MAX, "9999-12-30T22:00:00.999Z")] {
            assert_eq!(timestamp(moment), expected);
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, expected) in [("1MiB", Some(1 << 20)), ("300B", Some(300)), ("1MB", None), ("1", None)] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn rates_are_a_second() {
        for (text, expected) in [("60/s", Some(60)), ("60 /s", Some(60)), ("+60/s", None), ("60/m", None), ("60", None)]
        {
            assert_eq!(parse_rate(text), expected, "{text}");
        }
    }
}
