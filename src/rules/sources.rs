//! Where webhooks come from: the secrets and the Novu account of each source.

use std::sync::Arc;

use super::{DEFAULT_SOURCE, is_plain_id};
use crate::config::{Fields, Node, shortened};
use crate::keys;
use crate::outside::{Resolved, Resolver};
use crate::problem::{Problem, Problems};
use crate::settings::{self, Settings};
use crate::verify::{LOCAL_SECRET, Secret};

/// The secrets of each source, in the order of the file.
pub type Sources = Vec<(Arc<str>, Vec<Secret>)>;

/// Reads `sources` and `novu`.
pub fn compile(file: Fields<'_>, settings: &mut Settings, resolver: &mut Resolver, problems: &mut Problems) -> Sources {
    let novu = file.get("novu");
    if let Some(novu) = novu {
        novu.fields(&keys::NOVU, problems);
    }
    let entries = match file.get("sources") {
        Some(node) => match node.entries(problems) {
            Some([]) => node.wrong("at least one source, such as `clerk`", problems).unwrap_or_default(),
            entries => entries.unwrap_or_default(),
        },
        None => &[],
    };
    let mut sources = Sources::new();
    if file.lacks("sources") {
        let secret = resolver.resolve_default(file.node, "sources", "${CLERK_WEBHOOK_SIGNING_SECRET}", problems);
        let secrets = secret.and_then(|secret| read_secret(file.node, &secret, problems)).flatten();
        sources.push((DEFAULT_SOURCE.into(), secrets.into_iter().collect()));
        let account = settings::compile_account(novu.unwrap_or(file.node), novu.as_slice(), resolver, problems);
        settings.accounts.extend(account.map(|account| (DEFAULT_SOURCE.into(), Arc::new(account))));
    }
    for (key, node) in entries {
        let name: Arc<str> = key.name.as_str().into();
        if !is_plain_id(&key.name) {
            let problem =
                Problem::error("bad_value", node, format!("`{}` cannot be part of an address", shortened(&key.name)))
                    .expected("letters, digits, `-` and `_`");
            problems.push(key.at(problem));
        }
        sources.push((name.clone(), compile_secrets(node, resolver, problems).unwrap_or_default()));
        let blocks: Vec<&Node> = [node.find("novu"), novu].into_iter().flatten().collect();
        let at = blocks.first().copied().unwrap_or(node);
        let account = settings::compile_account(at, &blocks, resolver, problems);
        settings.accounts.extend(account.map(|account| (name, Arc::new(account))));
    }
    sources
}

fn compile_secrets(source: &Node, resolver: &mut Resolver, problems: &mut Problems) -> Option<Vec<Secret>> {
    let fields = source.fields(&keys::SOURCE, problems)?;
    if let Some(novu) = fields.get("novu") {
        novu.fields(&keys::NOVU, problems);
    }
    let secrets = fields.get("signing_secrets")?;
    let items = secrets.one_or_list();
    if items.is_empty() {
        return secrets.wrong("at least one signing secret", problems);
    }
    let mut known = Vec::new();
    for item in items {
        if let Some(secret) = resolver.resolve(item, problems).and_then(|text| read_secret(item, &text, problems)) {
            known.extend(secret);
        }
    }
    Some(known)
}

/// A secret; none inside if its value is not known here.
fn read_secret(node: &Node, resolved: &Resolved, problems: &mut Problems) -> Option<Option<Secret>> {
    if !resolved.complete {
        return Some(None);
    }
    let message = match Secret::parse(&resolved.text) {
        Ok(secret) if resolved.text.trim() != LOCAL_SECRET => return Some(Some(secret)),
        Ok(_) => "the signing secret is the built-in one of `deskbell dev`, which everybody has".to_owned(),
        Err(message) => message,
    };
    problems.push(
        Problem::error("bad_value", node, message)
            .expected("the endpoint's signing secret as Clerk's dashboard shows it, `whsec_…`"),
    );
    None
}
