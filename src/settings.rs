//! What `routes.yaml` says apart from its routes: Novu accounts, delivery, limits. All of it is hot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Fields, Node};
use crate::keys;
use crate::novu::{self, Account};
use crate::outside::Resolver;
use crate::problem::{Problem, Problems};
use crate::units::Millis;

/// The settings of one revision.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Attempts at the same time.
    pub concurrency: usize,
    /// Of one attempt.
    pub timeout: Millis,
    /// Requests a second for one Novu key; none is to go by what Novu answers.
    pub rate: Option<u32>,
    /// Whether many deliveries may go in one call.
    pub bulk: bool,
    pub retry: Retry,
    /// The largest webhook body, in bytes.
    pub body_limit: usize,
    /// The most deliveries that wait.
    pub queue_limit: u64,
    /// The least room on the disk of the store, in bytes; none is to go by the size of the disk.
    pub free_disk: Option<u64>,
    /// How long bodies and requests are kept after the end.
    pub retention: Millis,
    /// How long an event is known after it came.
    pub remember: Millis,
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

impl Settings {
    /// Reads `delivery`, `retention`, `remember` and `limits`.
    pub fn compile(file: Fields<'_>, problems: &mut Problems) -> Self {
        let delivery = file.object("delivery", &keys::DELIVERY, problems);
        let retry = delivery.object("retry", &keys::RETRY, problems);
        let limits = file.object("limits", &keys::LIMITS, problems);
        // Every one of these has a default in the table.
        let mut duration = |fields: Fields<'_>, name| fields.duration(name, problems).unwrap_or_default();
        Self {
            timeout: duration(delivery, "timeout"),
            retention: duration(file, "retention"),
            remember: duration(file, "remember"),
            retry: Retry {
                first: duration(retry, "first"),
                longest: duration(retry, "longest"),
                unknown: duration(retry, "unknown"),
                give_up_after: duration(retry, "give_up_after"),
            },
            concurrency: delivery.count("concurrency", problems).unwrap_or_default() as usize,
            rate: delivery.rate("rate", problems).map(|rate| rate as u32),
            bulk: delivery.word("bulk", problems) == Some("auto"),
            body_limit: limits.size("body", problems).unwrap_or_default() as usize,
            queue_limit: limits.count("queue", problems).unwrap_or_default(),
            free_disk: limits.room("free_disk", problems),
            accounts: BTreeMap::new(),
        }
    }
}

/// Reads the Novu account of a source: its own block, then the file's, then the defaults.
pub fn compile_account(
    at: &Node,
    blocks: &[&Node],
    resolver: &mut Resolver,
    problems: &mut Problems,
) -> Option<Account> {
    let find = |name| blocks.iter().find_map(|block| block.find(name));
    let default_url = keys::NOVU.default("api_url");
    let (url_node, key_node) = (find("api_url"), find("secret_key"));
    let url = match url_node {
        Some(node) => resolver.resolve(node, problems),
        None => {
            let default = resolver.variable("NOVU_API_URL").unwrap_or(default_url.to_owned());
            resolver.resolve_default(at, "novu.api_url", &default, problems)
        }
    };
    let key = match key_node {
        Some(node) => resolver.resolve(node, problems),
        None => resolver.resolve_default(at, "novu.secret_key", keys::NOVU.default("secret_key"), problems),
    };
    let url = url.map(|url| if url.complete { url.text } else { default_url.to_owned() });
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
