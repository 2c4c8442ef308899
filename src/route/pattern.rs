//! Event types as a route names them.

/// An event type, or a glob such as `organization.*`.
#[derive(Debug)]
pub struct Pattern(pub(super) String);

impl Pattern {
    pub fn matches(&self, kind: &str) -> bool {
        glob(self.0.as_bytes(), kind.as_bytes())
    }

    /// The pattern as it is written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The event type, if the pattern names exactly one.
    pub fn exact(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.contains('*'))
    }
}

/// `*` stands for any text, and there may be several.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut star) = ((0, 0), None);
    while at.1 < text.len() {
        match pattern.get(at.0) {
            Some(b'*') => {
                star = Some(at);
                at.0 += 1;
            }
            Some(byte) if *byte == text[at.1] => at = (at.0 + 1, at.1 + 1),
            _ => match &mut star {
                Some(star) => {
                    star.1 += 1;
                    at = (star.0 + 1, star.1);
                }
                None => return false,
            },
        }
    }
    pattern[at.0..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_types() {
        for (pattern, kind, expected) in [
            ("user.created", "user.created", true),
            ("user.created", "user.created2", false),
            ("organization.*", "organization.created", true),
            ("organization.*", "organizationMembership.created", false),
            ("*.created", "user.created", true),
            ("*.created", "user.deleted", false),
            ("*", "", true),
            ("*", "anything", true),
            ("o*n*.created", "organization.created", true),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).matches(kind), expected, "{pattern} {kind}");
        }
    }
}
