//! As much of HTTP/1.1 as two programs on one machine need: a head, a length, a body.

use std::io::{ErrorKind, Read, Result};

/// Reads messages from a stream, one after another in the same place.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    filled: usize,
    /// How much of it is the last message.
    message: usize,
}

pub struct Message<'a> {
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Messages {
    /// None if the other side has closed the connection.
    pub fn next(&mut self, stream: &mut impl Read) -> Result<Option<Message<'_>>> {
        self.bytes.copy_within(self.message..self.filled, 0);
        self.filled -= std::mem::take(&mut self.message);
        let mut head = None;
        loop {
            head = head.or_else(|| find(&self.bytes[..self.filled], b"\r\n\r\n").map(|end| end + 4));
            if let Some(head) = head {
                self.message = head + content_length(&self.bytes[..head])?;
                if self.filled >= self.message {
                    return Ok(Some(Message { head: &self.bytes[..head], body: &self.bytes[head..self.message] }));
                }
            }
            self.bytes.resize(self.message.max(self.filled + 4096).max(self.bytes.len()), 0);
            match stream.read(&mut self.bytes[self.filled..])? {
                0 if self.filled == 0 => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
        }
    }
}

/// Those who talk here write names in small letters.
fn content_length(head: &[u8]) -> Result<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let Some(at) = find(head, NAME) else { return Ok(0) };
    let digits = head[at + NAME.len()..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    length.ok_or_else(|| ErrorKind::InvalidData.into())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
