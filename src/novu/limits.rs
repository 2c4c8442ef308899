//! What an answer says of the limit that Novu sets to a key.
//!
//! `RateLimit-Remaining` is not used: Novu fills its bucket only when it cannot pay, so what remains falls to nothing
//! and comes back also where nobody is too fast.

use reqwest::header::HeaderMap;

/// Novu's window in seconds, where an answer does not name it.
const WINDOW: f64 = 5.0;

/// How many requests Novu takes in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub per_second: f64,
}

impl Limit {
    /// Reads `RateLimit-Policy: 300;w=5;burst=330;…` and `RateLimit-Limit: 300`. None where the limits are off.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut policy = text("ratelimit-policy").split(';').map(str::trim);
        let quota = [policy.next().unwrap_or_default(), text("ratelimit-limit")].into_iter().find_map(number)?;
        let window = policy.find_map(|part| part.strip_prefix("w=")).and_then(number).unwrap_or(WINDOW);
        Some(Self { per_second: quota / window })
    }
}

/// More than nothing, and not absurd.
fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| (1.0..1e9).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: Option<f64>) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().expect("name"), value.parse().expect("value")))
            .collect();
        assert_eq!(Limit::of(&headers).map(|limit| limit.per_second), expected, "{headers:?}");
    }

    #[test]
    fn the_limit_is_the_quota_over_its_window() {
        let free = r#"300;w=5;burst=330;comment="token bucket";category="trigger";cost="single";serviceLevel="free""#;
        check(&[("ratelimit-policy", free), ("ratelimit-limit", "300")], Some(60.0));
        check(&[("ratelimit-policy", "100; w=10")], Some(10.0));
        check(&[("ratelimit-limit", "1200")], Some(240.0));
        check(&[("ratelimit-policy", "nonsense"), ("ratelimit-limit", "300")], Some(60.0));
    }

    #[test]
    fn what_is_no_limit_is_none() {
        for value in ["", "0", "-5", "NaN", "inf", "many"] {
            check(&[("ratelimit-limit", value)], None);
        }
        check(&[("ratelimit-remaining", "3")], None);
        check(&[], None);
    }
}
