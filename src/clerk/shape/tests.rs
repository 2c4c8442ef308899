use serde_json::json;

use super::*;
use crate::clerk::{event_types, sample};

/// `data.email_addresses[0].id`, with `*` for any.
fn steps(path: &str) -> Vec<Step> {
    let steps = path.split(['.', '[']).map(|step| match step.trim_end_matches(']') {
        "*" => Step::Any,
        step => step.parse().map_or_else(|_| Step::Member(step.to_owned()), Step::Index),
    });
    steps.collect()
}

#[track_caller]
fn check(event_type: &str, path: &str, expected: &str) {
    let shape = shape(event_type).expect(event_type);
    let found = match shape.reach(&steps(path)) {
        Reach::Known(_) => "known".to_owned(),
        Reach::Open => "open".to_owned(),
        Reach::Nowhere { at, .. } => format!("nowhere at {at}"),
    };
    assert_eq!(found, expected, "{event_type} {path}");
}

#[test]
fn a_path_is_known_if_any_sample_of_the_type_has_it() {
    check("user.created", "data.first_name", "known");
    check("user.created", "data.email_addresses[0].verification.status", "known");
    check("user.created", "data.email_addresses[-1].linked_to[0].type", "known");
    check("user.created", "data.email_addresses[*].id", "known");
    check("user.created", "data.emial", "nowhere at 1");
    check("user.created", "data.email_addresses[0].emial", "nowhere at 3");
    check("user.created", "data.email_addresses.id", "nowhere at 2");
    check("user.created", "data.first_name.length", "nowhere at 2");
    check("user.created", "data.first_name[0]", "nowhere at 2");
    check("user.deleted", "data.first_name", "nowhere at 1");
    check("email.created", "data.suppression_reason", "known");
}

#[test]
fn nothing_is_unknown_below_what_the_samples_cannot_show() {
    check("user.created", "data.public_metadata.plan.of.any.depth", "open");
    check("user.created", "data.external_accounts[0].facebook_id", "open");
    check("email.created", "data.data.app.anything.else", "open");
    check("user.created", "data.web3_wallets[0].web3_wallet", "open");
    check("paymentAttempt.updated", "data.failed_reason.code", "open");
    check("waitlistEntry.created", "data.invitation.url", "open");
    // In the schema, and in no sample.
    check("user.created", "data.deprovisioned", "known");
    check("user.created", "data.scim.directory_id", "open");
    assert!(shape("some.thing").is_none());
    assert!(matches!(Shape::anything().reach(&steps("data.x")), Reach::Open));
}

#[test]
fn only_what_every_sample_has_and_the_schema_requires_is_always_there() {
    let always = |event_type, path| shape(event_type).expect(event_type).always(&steps(path)).is_some();
    for path in ["data.banned", "data.first_name", "data.email_addresses", "data.last_sign_in_at", "type"] {
        assert!(always("user.created", path), "{path}");
    }
    for path in ["data.locale", "data.deprovisioned", "data.nothing", "data.public_metadata.plan", "event_attributes"] {
        assert!(!always("user.created", path), "{path}");
    }
    assert!(always("email.created", "data.slug"));
    assert!(!always("email.created", "data.user_id"));
    assert!(!always("email.created", "data.data.otp_code"));
    assert!(!always("session.created", "data.user.banned"));
    assert!(!always("user.deleted", "data.external_id"));
    let items = shape("user.created").expect("a shape").reach(&steps("data.email_addresses[*]"));
    assert!(matches!(items, Reach::Known(items) if items[0].always(&steps("reserved")).is_some()));
}

#[test]
fn of_several_types_a_path_is_known_in_one_and_always_there_in_all() {
    let mut both = shape("user.created").expect("a shape").clone();
    both.merge(shape("user.deleted").expect("a shape"));
    assert!(matches!(both.reach(&steps("data.first_name")), Reach::Known(_)));
    assert!(matches!(both.reach(&steps("data.deleted")), Reach::Known(_)));
    assert!(both.always(&steps("data.first_name")).is_none());
    assert!(both.always(&steps("data.deleted")).is_none());
    assert!(both.always(&steps("data.object")).is_some());
    let mut either = Shape::of(&json!({"a": null}));
    either.merge(&Shape::of(&json!({"a": {"b": 1}})));
    assert!(either.always(&steps("a")).is_some() && either.always(&steps("a.b")).is_none());
    assert!(matches!(either.reach(&steps("a.c")), Reach::Nowhere { at: 1, .. }));
}

#[test]
fn an_event_has_only_paths_that_its_shape_knows() {
    fn check(shape: &Shape, value: &Value, path: &mut Vec<Step>) {
        assert!(!matches!(shape.reach(path), Reach::Nowhere { .. }), "{path:?}");
        let members = value.as_object().into_iter().flatten().map(|(name, value)| (Step::Member(name.clone()), value));
        let items = value.as_array().into_iter().flatten().enumerate();
        for (step, value) in members.chain(items.map(|(index, value)| (Step::Index(index as i64), value))) {
            path.push(step);
            check(shape, value, path);
            path.pop();
        }
    }
    for event_type in event_types() {
        check(shape(event_type).expect(event_type), &sample(event_type).expect(event_type), &mut Vec::new());
    }
}

#[test]
fn what_clerk_may_leave_out_is_listed_for_holders_that_the_samples_have() {
    fn collect(name: &str, value: &Value, holders: &mut Vec<String>) {
        if value.is_object() {
            holders.push(name.to_owned());
            holders.extend(value["object"].as_str().map(str::to_owned));
        }
        value.as_array().into_iter().flatten().for_each(|item| collect(name, item, holders));
        value.as_object().into_iter().flatten().for_each(|(name, value)| collect(name, value, holders));
    }
    let mut holders = vec!["deleted".to_owned()];
    event_types().for_each(|name| collect("event", &sample(name).expect(name), &mut holders));
    for (holder, _) in optional::OPTIONAL {
        assert!(holders.iter().any(|known| known == holder), "{holder}");
    }
}
