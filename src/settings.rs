//! What `routes.yaml` says apart from its routes: Novu accounts, delivery, limits. All of it is hot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Fields, Kind, Node};
use crate::novu::{self, Account, DEFAULT_URL};
use crate::outside::Resolver;
use crate::problem::{Problem, Problems};
use crate::units::{Millis, parse_size};

/// The settings of one revision.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Attempts at the same time.
    pub concurrency: usize,
    /// Of one attempt.
    pub timeout: Millis,
    /// Requests a second for one Novu key; none is to go by what Novu answers.
    pub rate: Option<u32>,
    pub retry: Retry,
    /// The largest webhook body, in bytes.
    pub body_limit: usize,
    /// The most deliveries that wait.
    pub queue_limit: u64,
    /// The Novu account of each source.
    pub accounts: BTreeMap<Arc<str>, Arc<Account>>,
}

/// When an attempt that failed is made again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub first: Millis,
    pub longest: Millis,
    /// After an attempt whose outcome is not known.
    pub unknown: Millis,
    pub give_up_after: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 32,
            timeout: 10_000,
            rate: None,
            retry: Retry { first: 1_000, longest: 300_000, unknown: 30_000, give_up_after: 86_400_000 },
            body_limit: 1 << 20,
            queue_limit: 1_000_000,
            accounts: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads `delivery`, `retention`, `remember` and `limits`.
    pub fn compile(file: Fields<'_>, problems: &mut Problems) -> Self {
        let mut settings = Self::default();
        for key in ["retention", "remember"] {
            file.get(key).and_then(|node| node.duration(problems));
        }
        if let Some(delivery) = file.get("delivery") {
            settings.read_delivery(delivery, problems);
        }
        let limits = file.get("limits").and_then(|node| node.fields(&["body", "queue"], problems));
        if let Some(limits) = limits {
            if let Some(bytes) = limits.get("body").and_then(|node| size(node, problems)) {
                settings.body_limit = bytes;
            }
            if let Some(count) = limits.get("queue").and_then(|node| node.count(1_000_000_000, problems)) {
                settings.queue_limit = count;
            }
        }
        settings
    }

    fn read_delivery(&mut self, node: &Node, problems: &mut Problems) -> Option<()> {
        let fields = node.fields(&["concurrency", "timeout", "rate", "bulk", "retry"], problems)?;
        if let Some(count) = fields.get("concurrency").and_then(|node| node.count(1_000, problems)) {
            self.concurrency = count as usize;
        }
        if let Some(timeout) = fields.get("timeout").and_then(|node| node.duration(problems)) {
            self.timeout = timeout;
        }
        self.rate = fields.get("rate").and_then(|node| rate(node, problems));
        fields.get("bulk").and_then(|node| node.word(&["auto", "off"], problems));
        let retry = fields.get("retry")?.fields(&["first", "longest", "unknown", "give_up_after"], problems)?;
        for (name, value) in [
            ("first", &mut self.retry.first),
            ("longest", &mut self.retry.longest),
            ("unknown", &mut self.retry.unknown),
            ("give_up_after", &mut self.retry.give_up_after),
        ] {
            if let Some(millis) = retry.get(name).and_then(|node| node.duration(problems)) {
                *value = millis;
            }
        }
        Some(())
    }
}

fn size(node: &Node, problems: &mut Problems) -> Option<usize> {
    const MOST: u64 = 64 << 20;
    let bytes = match &node.kind {
        Kind::Text(text) => parse_size(text),
        Kind::Number(number) => number.as_u64(),
        _ => None,
    };
    match bytes {
        Some(bytes) if (1..=MOST).contains(&bytes) => usize::try_from(bytes).ok(),
        _ => node.wrong("a size such as `512KiB` or `1MiB`, at most `64MiB`", problems),
    }
}

fn rate(node: &Node, problems: &mut Problems) -> Option<u32> {
    let Kind::Text(text) = &node.kind else { return node.wrong("`auto`, or a rate such as `60/s`", problems) };
    if text == "auto" {
        return None;
    }
    let rate = text
        .strip_suffix("/s")
        .and_then(|number| number.trim().parse().ok())
        .filter(|rate| (1..=100_000).contains(rate));
    rate.or_else(|| node.wrong("`auto`, or a rate such as `60/s`", problems))
}

/// Reads the Novu account of a source: its own block, then the file's, then the defaults.
pub fn compile_account(
    at: &Node,
    blocks: &[&Node],
    resolver: &mut Resolver,
    problems: &mut Problems,
) -> Option<Account> {
    let find = |name| blocks.iter().find_map(|block| block.find(name));
    let (url_node, key_node) = (find("api_url"), find("secret_key"));
    let url = match url_node {
        Some(node) => resolver.resolve(node, problems),
        None => {
            let default = resolver.variable("NOVU_API_URL").unwrap_or(DEFAULT_URL.to_owned());
            resolver.resolve_default(at, "novu.api_url", &default, problems)
        }
    };
    let key = match key_node {
        Some(node) => resolver.resolve(node, problems),
        None => resolver.resolve_default(at, "novu.secret_key", "${NOVU_SECRET_KEY}", problems),
    };
    let url = url.map(|url| if url.complete { url.text } else { DEFAULT_URL.to_owned() });
    if let Some(Err(expected)) = url.as_deref().map(novu::trigger_url) {
        url_node.unwrap_or(at).wrong::<()>(expected, problems);
    }
    if let Some(Err(expected)) = key.as_ref().map(|key| novu::authorization(&key.text)) {
        // The key itself is not shown.
        let message = "the secret key is none that Novu gives out";
        problems.push(Problem::error("bad_value", key_node.unwrap_or(at), message).expected(expected));
    }
    Account::new(&url?, &key?.text).ok()
}
