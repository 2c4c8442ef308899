//! The catalogue of Clerk's events, with a sample of each inside the binary.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

/// One event as Clerk would send it, about people who do not exist.
#[derive(Debug)]
pub struct Sample {
    /// An event type (`user.created`), or type and variant (`email.created/magic_link_sign_in`).
    pub name: &'static str,
    /// The whole event, pretty-printed.
    pub json: &'static str,
}

impl Sample {
    /// The event type alone.
    pub fn event_type(&self) -> &'static str {
        self.name.split_once('/').map_or(self.name, |(event_type, _)| event_type)
    }
}

macro_rules! samples {
    ($($name:literal)*) => {
        &[$(Sample { name: $name, json: include_str!(concat!("../../samples/", $name, ".json")) }),*]
    };
}

/// Every event type of Clerk's OpenAPI of webhook events (2025-04-15), and `subscriptionItem.created`, which only the
/// types of `@clerk/backend` still have. The variants of messages are named after Clerk's template slugs.
const SAMPLES: &[Sample] = samples! {
    "user.created"
    "user.updated"
    "user.deleted"
    "session.created"
    "session.pending"
    "session.ended"
    "session.removed"
    "session.revoked"
    "email.created"
    "email.created/reset_password_code"
    "email.created/magic_link_sign_in"
    "email.created/magic_link_sign_up"
    "email.created/magic_link_user_profile"
    "email.created/invitation"
    "email.created/organization_invitation"
    "email.created/organization_invitation_accepted"
    "email.created/waitlist_confirmation"
    "email.created/waitlist_invitation"
    "email.created/password_changed"
    "email.created/password_removed"
    "email.created/primary_email_address_changed"
    "email.created/passkey_added"
    "email.created/passkey_removed"
    "email.created/mfa_enabled"
    "email.created/new_device_sign_in"
    "email.created/account_locked"
    "email.created/api-sent-no-slug"
    "sms.created"
    "sms.created/reset_password"
    "organization.created"
    "organization.updated"
    "organization.deleted"
    "organizationDomain.created"
    "organizationDomain.updated"
    "organizationDomain.deleted"
    "organizationInvitation.created"
    "organizationInvitation.accepted"
    "organizationInvitation.revoked"
    "organizationMembership.created"
    "organizationMembership.updated"
    "organizationMembership.deleted"
    "role.created"
    "role.updated"
    "role.deleted"
    "permission.created"
    "permission.updated"
    "permission.deleted"
    "waitlistEntry.created"
    "waitlistEntry.updated"
    "subscription.created"
    "subscription.updated"
    "subscription.active"
    "subscription.pastDue"
    "subscriptionItem.created"
    "subscriptionItem.updated"
    "subscriptionItem.active"
    "subscriptionItem.upcoming"
    "subscriptionItem.freeTrialEnding"
    "subscriptionItem.canceled"
    "subscriptionItem.ended"
    "subscriptionItem.abandoned"
    "subscriptionItem.incomplete"
    "subscriptionItem.pastDue"
    "paymentAttempt.created"
    "paymentAttempt.updated"
};

/// The plain samples of messages have a slug too, and answer to it.
const ALIASES: &[(&str, &str)] =
    &[("email.created/verification_code", "email.created"), ("sms.created/verification_code", "sms.created")];

/// All samples: event types in the order of the catalogue, each followed by its variants.
pub fn samples() -> impl Iterator<Item = &'static Sample> {
    SAMPLES.iter()
}

/// The sample of this name, `email.created/verification_code` and `sms.created/verification_code` included.
pub fn sample(name: &str) -> Option<Value> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, name)| name);
    let sample = SAMPLES.iter().find(|sample| sample.name == name)?;
    serde_json::from_str(sample.json).ok()
}

/// The types of event that Clerk is known to send.
pub fn event_types() -> impl Iterator<Item = &'static str> {
    samples().map(|sample| sample.name).filter(|name| !name.contains('/'))
}

/// Whether Clerk is known to send events of this type.
pub fn is_event_type(name: &str) -> bool {
    static EVENT_TYPES: LazyLock<HashSet<&str>> = LazyLock::new(|| event_types().collect());
    EVENT_TYPES.contains(name)
}

/// What to tell somebody who asks for a sample that there is not.
pub fn hint_for_sample(name: &str) -> String {
    match nearest(name, samples().map(|sample| sample.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`deskbell samples` lists them".to_owned(),
    }
}

/// What was probably meant by a misspelt name, if anything is really near: at most one letter in four differs, and
/// never more than three. Case, `_` and `-` hardly count, because `past_due` for `pastDue` is the common mistake.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(name);
    let length = wanted.chars().count();
    let tolerance = match length {
        0..=2 => 0,
        _ => (length / 4).clamp(1, 3),
    };
    among
        .filter_map(|candidate| {
            let folded = fold(candidate);
            let comparable = folded.chars().count().abs_diff(length) <= tolerance;
            let distance = comparable.then(|| strsim::osa_distance(&wanted, &folded))?;
            (distance <= tolerance).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_an_event_of_the_type_it_is_named_after() {
        for sample in samples() {
            let event: Value = serde_json::from_str(sample.json).expect(sample.name);
            assert_eq!(event["type"], sample.event_type(), "{}", sample.name);
            assert_eq!(event["object"], "event", "{}", sample.name);
            assert!(event["data"].is_object(), "{}", sample.name);
            assert!(event["timestamp"].is_i64(), "{}", sample.name);
            assert!(event["instance_id"].is_string(), "{}", sample.name);
        }
    }

    #[test]
    fn every_variant_is_named_after_its_slug() {
        for sample in samples() {
            let event: Value = serde_json::from_str(sample.json).expect(sample.name);
            match sample.name.split_once('/') {
                Some((_, "api-sent-no-slug")) => assert_eq!(event["data"]["slug"], Value::Null),
                Some((_, variant)) => assert_eq!(event["data"]["slug"], variant),
                None => {}
            }
        }
        for (alias, name) in ALIASES {
            assert_eq!(sample(alias), sample(name));
            let slug = &sample(alias).expect(alias)["data"]["slug"];
            assert_eq!(format!("{name}/{}", slug.as_str().expect(alias)), *alias);
        }
    }

    #[test]
    fn every_file_in_the_folder_is_a_sample() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
        let json = |path: &std::path::Path| path.extension().is_some_and(|it| it == "json");
        let files: usize = std::fs::read_dir(folder)
            .expect(folder)
            .map(|entry| entry.expect(folder).path())
            .map(|path| match std::fs::read_dir(&path) {
                Ok(variants) => variants.flatten().filter(|file| json(&file.path())).count(),
                Err(_) => usize::from(json(&path)),
            })
            .sum();
        assert_eq!(files, samples().count());
    }

    #[test]
    fn the_catalogue_has_46_event_types_and_no_name_twice() {
        assert_eq!(event_types().count(), 46);
        let names: HashSet<&str> = samples().map(|sample| sample.name).collect();
        assert_eq!(names.len(), samples().count());
        assert!(event_types().all(is_event_type));
        for unknown in ["", "user", "user.*", "User.created", "email.created/invitation"] {
            assert!(!is_event_type(unknown), "{unknown}");
        }
        assert_eq!(sample("user.create"), None);
    }

    #[test]
    fn only_what_is_really_near_is_suggested() {
        let check = |name, expected| assert_eq!(nearest(name, event_types()), expected, "{name}");
        check("user.create", Some("user.created"));
        check("user.craeted", Some("user.created"));
        check("User.Created", Some("user.created"));
        check("subscription.past_due", Some("subscription.pastDue"));
        check("subscriptionItem.free_trial_ending", Some("subscriptionItem.freeTrialEnding"));
        check("organization_membership.created", Some("organizationMembership.created"));
        check("emails.created", Some("email.created"));
        check("otp.created", None);
        check("session.deleted", None);
        check("invitation.created", None);
        check("role.assigned", None);
        check("webhook.created", None);
        check("", None);
        assert_eq!(nearest("filer", ["filter", "workflow"].into_iter()), Some("filter"));
        assert_eq!(nearest("on", ["or", "to"].into_iter()), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), event_types()), None);
    }
}
