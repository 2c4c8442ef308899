//! Whom an event is about, as a Novu subscriber.
//!
//! Only what the event itself says of that person is filled in: an empty string counts as absent, and so does anything
//! that is not a string where Clerk's OpenAPI of webhook events (2025-04-15) has one.

use serde_json::{Map, Value};

/// Whether events of a type say whom they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Always,
    /// Billing: the payer is a user or an organization, and an organization is nobody in particular.
    NotOnOrganizationBills,
    /// A route for such an event has to name its subscriber or topic.
    Never,
}

/// Whether events of this type name a person. Types that Clerk may yet add are judged by their family, the text before
/// the first dot; in a family nobody has heard of they name nobody.
pub fn names_a_person(event_type: &str) -> Person {
    match family(event_type) {
        "user" | "session" | "email" | "sms" => Person::Always,
        "organizationMembership" | "organizationInvitation" | "waitlistEntry" => Person::Always,
        "subscription" | "subscriptionItem" | "paymentAttempt" => Person::NotOnOrganizationBills,
        _ => Person::Never,
    }
}

/// The Novu subscriber an event is about, or none if it names no person or the id is missing.
///
/// A message goes to the address Clerk wrote it for and to no profile: the address may be unverified, as may the one an
/// invitation went to.
pub fn subscriber(event: &Value) -> Option<Map<String, Value>> {
    let event_type = text(event, "type")?;
    let data = &event["data"];
    match family(event_type) {
        "user" if event_type == "user.deleted" => known_by(text(data, "id"), []),
        "user" => known_by(text(data, "id"), profile(data)),
        "session" => session_owner(data),
        "email" => addressee(text(data, "to_email_address")),
        "sms" => phone_owner(text(data, "to_phone_number")),
        "organizationMembership" => person(&data["public_user_data"]),
        "organizationInvitation" | "waitlistEntry" => invitee(data),
        "subscription" | "subscriptionItem" | "paymentAttempt" => person(&data["payer"]),
        _ => None,
    }
}

/// What a subscriber would have if the user that the event is about had it, by Novu's names.
pub fn absent_facts(event: &Value) -> Vec<&'static str> {
    let (event_type, data) = (text(event, "type").unwrap_or_default(), &event["data"]);
    let user = match family(event_type) {
        "user" if event_type != "user.deleted" => data,
        "session" if text(&data["user"], "id") == text(data, "user_id") => &data["user"],
        _ => return Vec::new(),
    };
    profile(user).into_iter().filter(|(_, fact)| fact.is_none()).map(|(key, _)| key).collect()
}

/// The primary e-mail address of a user, which need not be the first; a member or payer comes with one at most.
///
/// A member's `identifier` may also be a username or phone number, and only an address counts.
pub fn primary_email(user: &Value) -> Option<&str> {
    if user.get("email_addresses").is_some() {
        return primary(user, "email_addresses", "primary_email_address_id", "email_address");
    }
    text(user, "email").or_else(|| {
        text(user, "identifier")
            .filter(|identifier| is_email_address(identifier))
            .filter(|identifier| text(user, "username") != Some(identifier))
    })
}

/// The primary phone number of a user, which need not be the first.
pub fn primary_phone(user: &Value) -> Option<&str> {
    primary(user, "phone_numbers", "primary_phone_number_id", "phone_number")
}

/// First and last name, or the one that is there.
pub fn full_name(user: &Value) -> Option<String> {
    match (text(user, "first_name"), text(user, "last_name")) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (first, last) => first.or(last).map(str::to_owned),
    }
}

/// When an event happened, in milliseconds since 1970, by its own account.
///
/// Clerk documents milliseconds and sends them; the examples of its OpenAPI are in seconds.
pub fn occurred_at(event: &Value) -> Option<i64> {
    /// 1973 in milliseconds, or the year 5138 in seconds.
    const FIRST_IN_MILLISECONDS: i64 = 100_000_000_000;

    let timestamp = event.get("timestamp")?.as_i64()?;
    Some(match timestamp {
        FIRST_IN_MILLISECONDS.. => timestamp,
        seconds => seconds.saturating_mul(1_000),
    })
}

fn family(event_type: &str) -> &str {
    event_type.split_once('.').map_or("", |(family, _)| family)
}

/// A member or a payer. The `user_id` of an organization that pays is empty.
fn person(person: &Value) -> Option<Map<String, Value>> {
    known_by(text(person, "user_id"), profile(person))
}

/// `data.user` is in what Clerk sends, though not in the schema of its OpenAPI, and may be null.
fn session_owner(session: &Value) -> Option<Map<String, Value>> {
    let id = text(session, "user_id");
    let user = &session["user"];
    if text(user, "id") != id {
        return known_by(id, []);
    }
    known_by(id, profile(user))
}

fn invitee(invitation: &Value) -> Option<Map<String, Value>> {
    match text(invitation, "user_id") {
        Some(id) => known_by(Some(id), []),
        None => addressee(text(invitation, "email_address")),
    }
}

fn addressee(address: Option<&str>) -> Option<Map<String, Value>> {
    known_by(address, [("email", address)])
}

/// Novu's ids have no `+`, so a number is known by its digits.
fn phone_owner(number: Option<&str>) -> Option<Map<String, Value>> {
    let digits: String = number?.chars().filter(char::is_ascii_digit).collect();
    let id = (!digits.is_empty()).then(|| format!("phone_{digits}"));
    known_by(id.as_deref(), [("phone", number)])
}

fn profile(user: &Value) -> [(&'static str, Option<&str>); 6] {
    [
        ("firstName", text(user, "first_name")),
        ("lastName", text(user, "last_name")),
        ("email", primary_email(user)),
        ("phone", primary_phone(user)),
        ("avatar", text(user, "image_url")),
        ("locale", text(user, "locale")),
    ]
}

fn known_by<'a>(
    id: Option<&str>,
    facts: impl IntoIterator<Item = (&'static str, Option<&'a str>)>,
) -> Option<Map<String, Value>> {
    let mut subscriber = Map::new();
    subscriber.insert("subscriberId".to_owned(), id?.into());
    for (key, fact) in facts {
        if let Some(fact) = fact {
            subscriber.insert(key.to_owned(), fact.into());
        }
    }
    Some(subscriber)
}

fn primary<'a>(user: &'a Value, list: &str, primary_id: &str, key: &str) -> Option<&'a str> {
    let id = text(user, primary_id)?;
    let mut entries = user.get(list)?.as_array()?.iter();
    let entry = entries.find(|entry| text(entry, "id") == Some(id))?;
    text(entry, key)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn is_email_address(text: &str) -> bool {
    let domain = text.split_once('@').filter(|(local, _)| !local.is_empty());
    let (host, zone) = domain.and_then(|(_, domain)| domain.rsplit_once('.')).unwrap_or_default();
    !host.is_empty() && !zone.is_empty() && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests;
