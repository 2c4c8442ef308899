use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clerk::{event_types, sample, samples, set};

const ADA: &str = "user_3JK7mxXlkzvOQb2M6na4Q6BJS8o";
const GRACE: &str = "user_3JsrfHVa9TlxTfqZjdzYnwttyEu";
const AVATAR: &str =
    "https://img.clerk.com/eyJ0eXBlIjoiZGVmYXVsdCIsImlpZCI6Imluc18zSmV4YW1wbGUiLCJyaWQiOiJ1c2VyXzNKZXhhbXBsZSJ9";

/// Null stands for no subscriber.
#[track_caller]
fn check(name: &str, changes: Value, expected: Value) {
    let mut event = sample(name).expect(name);
    for (path, value) in changes.as_object().expect("changes by path") {
        set(&mut event, path, value.clone()).expect(path);
    }
    let found = subscriber(&event).map_or(Value::Null, Value::Object);
    assert_eq!(found, expected, "{name} {changes}");
}

fn ada() -> Value {
    json!({
        "subscriberId": ADA, "firstName": "Ada", "lastName": "Lovelace", "email": "ada.lovelace@example.com",
        "phone": "+12015550123", "avatar": AVATAR, "locale": "en-GB",
    })
}

fn without(mut subscriber: Value, keys: &[&str]) -> Value {
    let facts = subscriber.as_object_mut().expect("a subscriber");
    facts.retain(|key, _| !keys.contains(&key.as_str()));
    subscriber
}

fn payer() -> Value {
    without(ada(), &["phone", "locale"])
}

fn member() -> Value {
    json!({
        "subscriberId": GRACE, "firstName": "Grace", "lastName": "Hopper", "email": "grace.hopper@example.com",
        "avatar": AVATAR,
    })
}

fn address(address: &str) -> Value {
    json!({ "subscriberId": address, "email": address })
}

fn id_only(id: &str) -> Value {
    json!({ "subscriberId": id })
}

#[test]
fn every_event_type_has_its_subscriber() {
    let table = [
        ("user.created", ada()),
        ("user.updated", ada()),
        ("user.deleted", id_only(ADA)),
        ("session.created", ada()),
        ("session.pending", ada()),
        ("session.ended", ada()),
        ("session.removed", ada()),
        ("session.revoked", ada()),
        ("email.created", address("ada.lovelace@example.com")),
        ("sms.created", json!({ "subscriberId": "phone_12015550123", "phone": "+12015550123" })),
        ("organization.created", Value::Null),
        ("organization.updated", Value::Null),
        ("organization.deleted", Value::Null),
        ("organizationDomain.created", Value::Null),
        ("organizationDomain.updated", Value::Null),
        ("organizationDomain.deleted", Value::Null),
        ("organizationInvitation.created", address("grace.hopper@example.com")),
        ("organizationInvitation.accepted", id_only(GRACE)),
        ("organizationInvitation.revoked", address("grace.hopper@example.com")),
        ("organizationMembership.created", member()),
        ("organizationMembership.updated", member()),
        ("organizationMembership.deleted", member()),
        ("role.created", Value::Null),
        ("role.updated", Value::Null),
        ("role.deleted", Value::Null),
        ("permission.created", Value::Null),
        ("permission.updated", Value::Null),
        ("permission.deleted", Value::Null),
        ("waitlistEntry.created", address("katherine.johnson@example.com")),
        ("waitlistEntry.updated", address("katherine.johnson@example.com")),
        ("subscription.created", payer()),
        ("subscription.updated", payer()),
        ("subscription.active", payer()),
        ("subscription.pastDue", Value::Null),
        ("subscriptionItem.created", payer()),
        ("subscriptionItem.updated", Value::Null),
        ("subscriptionItem.active", payer()),
        ("subscriptionItem.upcoming", payer()),
        ("subscriptionItem.freeTrialEnding", payer()),
        ("subscriptionItem.canceled", payer()),
        ("subscriptionItem.ended", payer()),
        ("subscriptionItem.abandoned", payer()),
        ("subscriptionItem.incomplete", payer()),
        ("subscriptionItem.pastDue", payer()),
        ("paymentAttempt.created", payer()),
        ("paymentAttempt.updated", payer()),
    ];
    assert!(event_types().eq(table.iter().map(|(event_type, _)| *event_type)));
    for (event_type, expected) in table {
        check(event_type, json!({}), expected);
    }
}

#[test]
fn every_variant_goes_to_its_address_alone() {
    for sample in samples().filter(|sample| sample.name.contains('/')) {
        check(
            sample.name,
            json!({}),
            match sample.event_type() {
                "email.created" => address("ada.lovelace@example.com"),
                _ => json!({ "subscriberId": "phone_12015550123", "phone": "+12015550123" }),
            },
        );
    }
}

#[test]
fn what_the_types_promise_holds_for_every_sample() {
    for sample in samples() {
        let event = serde_json::from_str(sample.json).expect(sample.name);
        match names_a_person(sample.event_type()) {
            Person::Always => assert!(subscriber(&event).is_some(), "{}", sample.name),
            Person::Never => assert!(subscriber(&event).is_none(), "{}", sample.name),
            Person::NotOnOrganizationBills => {
                let bill_of_a_user = event["data"]["payer"]["organization_id"] == "";
                assert_eq!(subscriber(&event).is_some(), bill_of_a_user, "{}", sample.name);
            }
        }
    }
    assert_eq!(names_a_person("user.something"), Person::Always);
    assert_eq!(names_a_person("user"), Person::Never);
    assert_eq!(names_a_person("*"), Person::Never);
}

#[test]
fn the_primary_address_and_number_are_not_merely_the_first() {
    let second = json!({ "data.primary_email_address_id": "idn_3JUE7yFg48Fe3M54cUQJfXLNzlm" });
    let mut expected = ada();
    expected["email"] = json!("ada@example.org");
    check("user.created", second, expected);

    let number = json!({ "id": "idn_2", "phone_number": "+447700900123" });
    let second = json!({ "data.phone_numbers[1]": number, "data.primary_phone_number_id": "idn_2" });
    let mut expected = ada();
    expected["phone"] = json!("+447700900123");
    check("user.updated", second, expected);

    for unknown in [json!("idn_unknown"), json!(""), json!(null), json!(7)] {
        let changes = json!({ "data.primary_email_address_id": unknown });
        check("user.created", changes, without(ada(), &["email"]));
        let changes = json!({ "data.primary_phone_number_id": unknown });
        check("user.created", changes, without(ada(), &["phone"]));
    }
    let nameless = json!({ "data.email_addresses": [{ "email_address": "x@example.com" }] });
    check("user.created", nameless, without(ada(), &["email"]));
}

#[test]
fn absent_facts_stay_absent() {
    for absent in [json!(""), json!(null), json!(0), json!(["x"])] {
        let changes = json!({
            "data.first_name": absent, "data.last_name": absent, "data.image_url": absent, "data.locale": absent,
            "data.email_addresses": absent, "data.phone_numbers": absent,
        });
        check("user.created", changes, id_only(ADA));
        check("user.created", json!({ "data.id": absent }), Value::Null);
        check("session.created", json!({ "data.user_id": absent }), Value::Null);
        check("email.created", json!({ "data.to_email_address": absent }), Value::Null);
        check("sms.created", json!({ "data.to_phone_number": absent }), Value::Null);
        check("user.created", json!({ "data": absent }), Value::Null);
        check("user.created", json!({ "type": absent }), Value::Null);
    }
    check("sms.created", json!({ "data.to_phone_number": "+" }), Value::Null);
    check("user.deleted", json!({ "data.first_name": "Ada" }), id_only(ADA));
    check("user.created", json!({ "type": "user" }), Value::Null);
    check("user.created", json!({ "type": "robot.created" }), Value::Null);
    check("user.created", json!({ "type": "user.something", "data.locale": "en_US" }), {
        let mut expected = ada();
        expected["locale"] = json!("en_US");
        expected
    });
}

#[test]
fn a_session_says_of_its_user_what_it_knows() {
    check("session.created", json!({ "data.user": null }), id_only(ADA));
    check("session.ended", json!({ "data.user": "Ada" }), id_only(ADA));
    check("session.ended", json!({ "data.user.id": GRACE }), id_only(ADA));
    check("session.ended", json!({ "data.user.id": null }), id_only(ADA));
    let neither = json!({ "data.user_id": null, "data.user.id": null });
    check("session.ended", neither, Value::Null);
}

#[test]
fn an_invitation_is_for_a_user_or_else_for_an_address() {
    let to_a_user = json!({ "data.user_id": GRACE });
    check("organizationInvitation.created", to_a_user.clone(), id_only(GRACE));
    check("waitlistEntry.updated", to_a_user, id_only(GRACE));
    let accepted_by_nobody = json!({ "data.user_id": "" });
    let expected = address("grace.hopper@example.com");
    check("organizationInvitation.accepted", accepted_by_nobody, expected);
    let nobody = json!({ "data.email_address": "" });
    check("organizationInvitation.revoked", nobody, Value::Null);
}

#[test]
fn a_member_is_reached_by_an_address_only() {
    let expected = || without(member(), &["email"]);
    let not_addresses = [
        "grace",
        "@grace",
        "grace@",
        "grace@hopper",
        "grace@.com",
        "grace@hopper.",
        "@hopper.com",
        "g h@hopper.com",
        "+12015550123",
        "",
    ];
    for identifier in not_addresses {
        let changes = json!({ "data.public_user_data.identifier": identifier });
        check("organizationMembership.created", changes, expected());
    }
    let changes = json!({ "data.public_user_data.username": "grace.hopper@example.com" });
    check("organizationMembership.created", changes, expected());
    let changes = json!({ "data.public_user_data": null });
    check("organizationMembership.created", changes, Value::Null);
}

#[test]
fn an_organization_that_pays_is_nobody() {
    let changes = json!({ "data.payer.user_id": "", "data.payer.organization_id": "org_1" });
    check("paymentAttempt.updated", changes, Value::Null);
    check("subscription.created", json!({ "data.payer": null }), Value::Null);
    let changes = json!({ "data.payer.first_name": "", "data.payer.last_name": "" });
    check("subscription.active", changes, without(payer(), &["firstName", "lastName"]));
}

#[test]
fn a_full_name_is_what_there_is_of_it() {
    let check = |user, expected: Option<&str>| assert_eq!(full_name(&user).as_deref(), expected);
    check(json!({ "first_name": "Ada", "last_name": "Lovelace" }), Some("Ada Lovelace"));
    check(json!({ "first_name": "Ada", "last_name": "" }), Some("Ada"));
    check(json!({ "first_name": null, "last_name": "Lovelace" }), Some("Lovelace"));
    check(json!({ "username": "ada" }), None);
    check(json!(null), None);
}

#[test]
fn a_time_is_in_milliseconds_whatever_the_event_counts_in() {
    let check = |timestamp, expected| assert_eq!(occurred_at(&json!({ "timestamp": timestamp })), expected);
    check(json!(1_787_660_412_337_i64), Some(1_787_660_412_337));
    check(json!(1_716_883_200), Some(1_716_883_200_000));
    check(json!(99_999_999_999_i64), Some(99_999_999_999_000));
    check(json!(100_000_000_000_i64), Some(100_000_000_000));
    check(json!(i64::MIN), Some(i64::MIN));
    check(json!(u64::MAX), None);
    check(json!("1716883200"), None);
    check(json!(null), None);
    assert_eq!(occurred_at(&json!([])), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "(id|a@b.co|user\\.created|session\\.ended|\\PC{0,3})".prop_map(Value::from),
    ];
    let key = "(type|data|user|user_id|id|email_addresses|primary_email_address_id|email_address|timestamp|payer)";
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_event_panics(event in any_json(), event_type in prop::sample::select(event_types().collect::<Vec<_>>())) {
        let as_it_is = subscriber(&event);
        let typed = subscriber(&json!({ "type": event_type, "data": event }));
        for found in [as_it_is, typed].into_iter().flatten() {
            prop_assert!(found.values().all(|fact| fact.as_str().is_some_and(|text| !text.is_empty())));
        }
        primary_email(&event);
        primary_phone(&event);
        full_name(&event);
        occurred_at(&event);
    }
}
