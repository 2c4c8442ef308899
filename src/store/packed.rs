//! A body in the store: JSON with the same few names again and again, which takes half the room when it is packed.

use lz4_flex::block;

use super::sql::{Error, Result};

/// The most that LZ4 makes of one byte.
const MOST_OF_ONE: usize = 255;

pub struct Packed {
    pub bytes: Vec<u8>,
    /// The length of the body, in bytes. None if it stands there as it came.
    pub unpacked: Option<i64>,
}

impl Packed {
    pub fn of(body: &[u8]) -> Self {
        let bytes = block::compress(body);
        match i64::try_from(body.len()) {
            Ok(length) if bytes.len() < body.len() => Self { bytes, unpacked: Some(length) },
            _ => Self { bytes: body.to_vec(), unpacked: None },
        }
    }

    /// The body as it came.
    ///
    /// # Errors
    /// What is kept is not what was written.
    pub fn unpack(self) -> Result<Vec<u8>> {
        let Some(length) = self.unpacked else { return Ok(self.bytes) };
        let length = usize::try_from(length).map_err(|_| Error::Damaged)?;
        let can_be = length / MOST_OF_ONE <= self.bytes.len();
        let body = can_be.then(|| block::decompress(&self.bytes, length).ok()).flatten();
        body.filter(|body| body.len() == length).ok_or(Error::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn a_body_comes_back_as_it_was() {
        let alike = br#"{"id":"user_1","name":"user_2"}"#.repeat(10_000);
        for body in [&b""[..], b"{", &noise(5), &noise(100_000), &alike] {
            assert!(Packed::of(body).bytes.len() <= body.len());
            assert_eq!(Packed::of(body).unpack().expect("a body"), body);
        }
        assert!(Packed::of(&alike).bytes.len() < alike.len() / 50);
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let Packed { bytes, unpacked } = Packed::of(&b"user".repeat(100));
        let damaged = [
            Packed { bytes: bytes.clone(), unpacked: Some(399) },
            Packed { bytes: bytes.clone(), unpacked: Some(401) },
            Packed { bytes: bytes.clone(), unpacked: Some(i64::MAX) },
            Packed { bytes: bytes[1..].to_vec(), unpacked },
            Packed { bytes: Vec::new(), unpacked },
        ];
        for packed in damaged {
            assert!(matches!(packed.unpack(), Err(Error::Damaged)));
        }
    }
}
