//! Metadata that goes where it should not.

use super::{Route, Sight, warning};
use crate::clerk::Reach;
use crate::config::shortened;
use crate::jsonpath::{Role, Step};
use crate::problem::Problems;

const UNSAFE: &str = "unsafe_metadata";
const PRIVATE: &str = "private_metadata";

/// Warns of metadata that users can write, in an id or an address.
pub(super) fn unsafe_metadata(sight: &Sight<'_>, problems: &mut Problems) {
    if sight.named.role != Role::Written || !passes(sight, UNSAFE) || !is_id_or_address(&sight.keys) {
        return;
    }
    let what = format!("`{}` goes into `{}`", shortened(&sight.named.text), sight.keys.join("."));
    let hint = "take an id or an address that Clerk has verified, or keep it in `public_metadata`, which only your servers write";
    problems.push(warning(UNSAFE, sight.node, &what).hint(hint));
}

/// Warns of metadata that is not for others, in what is sent.
pub(super) fn private_metadata(route: &Route<'_>, sight: &Sight<'_>, problems: &mut Problems) {
    if sight.named.role != Role::Written {
        return;
    }
    let text = shortened(&sight.named.text);
    let what = if passes(sight, PRIVATE) {
        format!("`{text}` is sent")
    } else {
        let Reach::Known(reached) = route.seen_from(sight).reach(&sight.named.steps) else { return };
        if !reached.iter().any(|shape| shape.holds(PRIVATE)) {
            return;
        }
        format!("`{text}` is sent with all that is in it")
    };
    let hint = "name the fields that the message needs; what may go out can stand in `public_metadata`";
    problems.push(warning(PRIVATE, sight.node, &what).hint(hint));
}

fn passes(sight: &Sight<'_>, metadata: &str) -> bool {
    sight.named.steps.iter().any(|step| matches!(step, Step::Member(name) if name == metadata))
}

/// Whether Novu takes what stands there for whom it sends to, or for which workflow.
fn is_id_or_address(keys: &[&str]) -> bool {
    match keys {
        ["topic" | "actor" | "tenant" | "workflow"] | ["tenant", "identifier"] | ["context", _] => true,
        ["context", _, "id"] => true,
        ["subscriber" | "actor", key, ..] => matches!(*key, "subscriberId" | "email" | "phone" | "channels"),
        ["overrides", rest @ ..] => rest.iter().any(|key| matches!(*key, "to" | "cc" | "bcc" | "from" | "replyTo")),
        _ => false,
    }
}
