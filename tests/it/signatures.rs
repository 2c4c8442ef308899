//! Signatures: Svix's own vectors, a published library as the other side, and laws.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deskbell::units::{Millis, now};
use deskbell::verify::{Event, Received, Rejection, Secret, verify};
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::SECRET;

const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &[u8] = br#"{"type":"user.created"}"#;
/// A moment, in seconds.
const MOMENT: i64 = 1_787_660_412;

const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];
const WEBHOOK: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// A webhook as it arrives: id, timestamp, signature and body.
#[derive(Clone, Debug)]
struct Message([Vec<u8>; 4]);

impl Message {
    fn new(id: &str, timestamp: impl ToString, signature: &str, body: &[u8]) -> Self {
        Self([id.into(), timestamp.to_string().into(), signature.into(), body.into()])
    }

    fn signed(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Self {
        let signature = parsed(secret).sign(id, &timestamp.to_string(), body);
        Self::new(id, timestamp, &signature, body)
    }

    /// None if HTTP could not carry them.
    fn headers(&self, names: [&'static str; 3]) -> Option<HeaderMap> {
        let header = |(name, value): (&'static str, &Vec<u8>)| {
            Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
        };
        names.into_iter().zip(&self.0).map(header).collect()
    }

    fn verify(&self, secrets: &[&str], now: Millis) -> Result<Event, Rejection> {
        let headers = self.headers(SVIX).ok_or(Rejection::InvalidSignature("not HTTP"))?;
        verify_headers(secrets, headers, &self.0[3], now)
    }

    fn is_accepted(&self) -> bool {
        is_signed(&self.verify(&[SECRET], MOMENT * 1000))
    }
}

fn parsed(secret: &str) -> Secret {
    Secret::parse(secret).expect("a secret")
}

fn verify_headers(secrets: &[&str], headers: HeaderMap, body: &[u8], now: Millis) -> Result<Event, Rejection> {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| parsed(secret)).collect();
    let received = Received { source: "clerk".to_owned(), headers, body: Bytes::copy_from_slice(body) };
    verify(&Arc::from("clerk"), &secrets, received, now)
}

/// The signature was right, whatever the body is.
fn is_signed(verified: &Result<Event, Rejection>) -> bool {
    matches!(verified, Ok(_) | Err(Rejection::InvalidBody))
}

fn payload(vector: &Value) -> Vec<u8> {
    match vector["payload"].as_str() {
        Some(payload) => payload.into(),
        None => {
            let repeat = &vector["payload_repeat"];
            let times = repeat[1].as_u64().expect("how often");
            repeat[0].as_str().expect("a text").repeat(times as usize).into()
        }
    }
}

#[test]
fn the_vectors_of_svix_are_signed_and_accepted_byte_for_byte() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("svix-vectors.json")).expect("vectors");
    let text = |vector: &Value, key: &str| vector[key].as_str().expect(key).to_owned();
    let (symmetric, asymmetric): (Vec<_>, Vec<_>) =
        vectors.iter().partition(|vector| text(vector, "signature").starts_with("v1,"));
    assert_eq!((symmetric.len(), asymmetric.len()), (6, 1));
    for vector in &symmetric {
        let [secret, id, signature] = ["secret", "msg_id", "signature"].map(|key| text(vector, key));
        let (at, body) = (vector["timestamp"].as_i64().expect("a timestamp"), payload(vector));
        assert_eq!(parsed(&secret).sign(&id, &at.to_string(), &body), signature, "{}", vector["name"]);
        let message = Message::new(&id, at, &signature, &body);
        assert!(is_signed(&message.verify(&[&secret], at * 1000)), "{}", vector["name"]);
    }

    // Ed25519 over the same message as the first: skipped wherever it stands.
    let (first, other) = (symmetric[0], text(asymmetric[0], "signature"));
    assert_eq!(first["payload"], asymmetric[0]["payload"]);
    let at = first["timestamp"].as_i64().expect("a timestamp");
    let accepted = |entries: &str| {
        let message = Message::new(&text(first, "msg_id"), at, entries, &payload(first));
        message.verify(&[&text(first, "secret")], at * 1000)
    };
    assert!(matches!(accepted(&other), Err(Rejection::InvalidSignature(_))));
    assert!(accepted(&format!("{other} {}", text(first, "signature"))).is_ok());
    assert!(accepted(&format!("{} {other}", text(first, "signature"))).is_ok());
}

#[test]
fn each_side_refuses_what_the_other_refuses() {
    let theirs = Webhook::new(SECRET).expect("a secret");
    let at = now() / 1000;
    let good = || Message::signed(SECRET, "msg_1", at, BODY);
    let signature = String::from_utf8(good().0[2].clone()).expect("text");
    let check = |what: &str, message: Message, without: &str, accepted: bool| {
        let mut headers = message.headers(WEBHOOK).expect(what);
        headers.remove(without);
        assert_eq!(theirs.verify(&message.0[3], &headers).is_ok(), accepted, "they: {what}");
        assert_eq!(verify_headers(&[SECRET], headers, &message.0[3], now()).is_ok(), accepted, "we: {what}");
    };
    check("good", good(), "", true);
    check("not too old", Message::signed(SECRET, "msg_1", at - 280, BODY), "", true);
    check("not too new", Message::signed(SECRET, "msg_1", at + 280, BODY), "", true);
    check("a wrong secret", Message::signed(OTHER, "msg_1", at, BODY), "", false);
    check("a changed body", Message::new("msg_1", at, &signature, b"{\"type\":\"user.deleted\"}"), "", false);
    check("a changed id", Message::new("msg_2", at, &signature, BODY), "", false);
    check("a changed timestamp", Message::new("msg_1", at + 1, &signature, BODY), "", false);
    check("only v1a", Message::new("msg_1", at, &signature.replace("v1,", "v1a,"), BODY), "", false);
    check("no version", Message::new("msg_1", at, signature.trim_start_matches("v1,"), BODY), "", false);
    check("a part of a signature", Message::new("msg_1", at, &signature[..20], BODY), "", false);
    check("only a version", Message::new("msg_1", at, "v1,", BODY), "", false);
    check("no signature", Message::new("msg_1", at, "", BODY), "", false);
    check("stale", Message::signed(SECRET, "msg_1", at - 320, BODY), "", false);
    check("future", Message::signed(SECRET, "msg_1", at + 320, BODY), "", false);
    check("no time", Message::new("msg_1", "soon", &signature, BODY), "", false);
    for name in WEBHOOK {
        check(name, good(), name, false);
    }
}

#[test]
fn timestamps_hold_for_exactly_five_minutes_either_way() {
    let message = Message::signed(SECRET, "msg_1", MOMENT, BODY);
    for (offset, expected) in [
        (0, None),
        (299_999, None),
        (300_000, None),
        // Timestamps are whole seconds, and so is the comparison, as in Svix's library.
        (300_999, None),
        (301_000, Some(Rejection::TooOld)),
        (31_536_000_000, Some(Rejection::TooOld)),
        (-299_999, None),
        (-300_000, None),
        (-300_001, Some(Rejection::TooNew)),
        (-301_000, Some(Rejection::TooNew)),
    ] {
        assert_eq!(message.verify(&[SECRET], MOMENT * 1000 + offset).err(), expected, "{offset} ms later");
    }
    for text in ["", " 1787660412", "+1787660412", "1787660412.0", "1.7e9", "0x6a", "９", "99999999999999999999"] {
        let signature = parsed(SECRET).sign("msg_1", text, BODY);
        let rejection = Message::new("msg_1", text, &signature, BODY).verify(&[SECRET], MOMENT * 1000).err();
        assert!(matches!(rejection, Some(Rejection::InvalidSignature(_) | Rejection::MissingHeaders(_))), "{text}");
    }
}

#[test]
fn one_good_entry_is_enough_wherever_it_stands() {
    let message = Message::signed(SECRET, "msg_1", MOMENT, BODY);
    let good = String::from_utf8(message.0[2].clone()).expect("text");
    let bad: Vec<String> =
        (0..10).map(|number| parsed(OTHER).sign(&format!("msg_{number}"), &MOMENT.to_string(), BODY)).collect();
    let accepted = |entries: String| Message::new("msg_1", MOMENT, &entries, BODY).is_accepted();
    assert!(!accepted(bad.join(" ")));
    assert!(accepted(format!("{} {good}", bad.join(" "))));
    assert!(accepted(format!("{good} {}", bad.join(" "))));
    for skipped in ["v1a", "v2", "v10", "V1", "v1 ", ""] {
        assert!(!accepted(good.replace("v1,", &format!("{skipped},"))), "{skipped}");
        assert!(accepted(format!("{skipped},AAAA {good}")), "{skipped}");
    }
}

#[test]
fn a_source_with_several_secrets_takes_each_of_them() {
    let third = "whsec_plJ3nmyCDGBKInavdOK15jsl";
    let accepted = |secret, secrets: &[&str]| {
        let message = Message::signed(secret, "msg_1", MOMENT, BODY);
        is_signed(&message.verify(secrets, MOMENT * 1000))
    };
    for secret in [SECRET, OTHER, third] {
        assert!(accepted(secret, &[SECRET, OTHER, third]));
    }
    assert!(!accepted(third, &[SECRET, OTHER]));
    assert!(!accepted(SECRET, &[]), "a source without secrets takes nothing");
}

#[test]
fn a_secret_is_read_however_it_was_copied() {
    for bytes in 16..19_u8 {
        let padded = STANDARD.encode((0..bytes).collect::<Vec<u8>>());
        let bare = padded.trim_end_matches('=');
        let whole = parsed(&format!("whsec_{padded}")).sign("msg_1", "1", BODY);
        for written in [
            padded.clone(),
            bare.to_owned(),
            format!("whsec_{bare}"),
            format!("v1,whsec_{padded}"),
            format!("  whsec_{padded}\n"),
            format!("\t{bare} \r\n"),
        ] {
            assert_eq!(parsed(&written).sign("msg_1", "1", BODY), whole, "{written:?}");
        }
    }
}

#[test]
fn a_short_secret_is_refused_and_garbage_is_not_shown() {
    for (secret, message) in [
        ("whsec_AAECAwQFBgcICQoLDA0O", "the signing secret has 15 bytes, and at least 16 are safe"),
        ("whsec_YWJj", "the signing secret has 3 bytes, and at least 16 are safe"),
        ("whsec_", "the signing secret has 0 bytes, and at least 16 are safe"),
        ("hunter2-hunter2-hunter2", "the signing secret is not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La LaSw", "the signing secret is not base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=A", "the signing secret is not base64"),
        ("whsec_schlüsselschlüsselschlüssel", "the signing secret is not base64"),
        ("${CLERK_WEBHOOK_SIGNING_SECRET}", "the signing secret is not base64"),
    ] {
        assert_eq!(Secret::parse(secret).err().as_deref(), Some(message), "{secret}");
    }
    assert_eq!(format!("{:?}", parsed(SECRET)), "Secret(…)");
}

/// All that one changed, inserted or missing byte can make of a text.
fn changes(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let replaced = move |at: usize, byte: Option<u8>, length: usize| {
        [&bytes[..at], byte.as_slice(), &bytes[at + length..]].concat()
    };
    let flips = (0..bytes.len()).flat_map(move |at| {
        (0..=255).filter(move |byte| *byte != bytes[at]).map(move |byte| replaced(at, Some(byte), 1))
    });
    let inserts = (0..=bytes.len()).flat_map(move |at| (0..=255).map(move |byte| replaced(at, Some(byte), 0)));
    let deletes = (0..bytes.len()).map(move |at| replaced(at, None, 1));
    flips.chain(inserts).chain(deletes)
}

/// Spaces around the entries of the header are no part of them.
fn is_same_header(part: usize, changed: &[u8], original: &[u8]) -> bool {
    let trimmed = [changed.strip_prefix(b" "), changed.strip_suffix(b" ")];
    part == 2 && trimmed.contains(&Some(original))
}

#[test]
fn no_changed_byte_is_ever_accepted() {
    let good = Message::signed(SECRET, "msg_2q8fS", MOMENT, BODY);
    assert!(good.is_accepted());
    for part in 0..4 {
        for changed in changes(&good.0[part]) {
            let mut message = good.clone();
            message.0[part] = changed;
            let same = is_same_header(part, &message.0[part], &good.0[part]);
            assert_eq!(message.is_accepted(), same, "{:?}", message.0.map(|part| part.escape_ascii().to_string()));
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_signed_is_accepted_by_both_sides(id in "[!-~]{1,64}", text in "\\PC{0,200}", bytes in any::<Vec<u8>>()) {
        prop_assert!(Message::signed(SECRET, &id, MOMENT, &bytes).is_accepted());

        let body = json!({"data": text}).to_string().into_bytes();
        let (theirs, at) = (Webhook::new(SECRET).expect("a secret"), now() / 1000);
        let ours = Message::signed(SECRET, &id, at, &body);
        let headers = ours.headers(WEBHOOK).expect("headers");
        prop_assert!(theirs.verify(&body, &headers).is_ok());

        let signed = Message::new(&id, at, &theirs.sign(&id, at, &body).expect("a signature"), &body);
        let event = signed.verify(&[SECRET], now()).expect("an event");
        prop_assert_eq!((&event.id, &event.body[..]), (&id, &body[..]));
        prop_assert!(verify_headers(&[SECRET], signed.headers(WEBHOOK).expect("headers"), &body, now()).is_ok());
    }

    #[test]
    fn no_changed_byte_of_any_message_is_accepted(
        id in "[!-~]{1,40}", body in any::<Vec<u8>>(), part in 0..4_usize, which in any::<prop::sample::Index>(),
    ) {
        let good = Message::signed(SECRET, &id, MOMENT, &body);
        let changes: Vec<Vec<u8>> = changes(&good.0[part]).collect();
        let mut message = good.clone();
        message.0[part] = which.get(&changes).clone();
        prop_assert_eq!(message.is_accepted(), is_same_header(part, &message.0[part], &good.0[part]));
    }

    #[test]
    fn a_message_is_accepted_by_the_secret_that_signed_it_and_no_other(
        signing in any::<[u8; 24]>(), other in any::<[u8; 24]>(), body in any::<Vec<u8>>(),
    ) {
        let [signing_text, other_text] =
            [signing, other].map(|bytes| format!("whsec_{}", STANDARD.encode(bytes)));
        let message = Message::signed(&signing_text, "msg_1", MOMENT, &body);
        prop_assert!(is_signed(&message.verify(&[&signing_text], MOMENT * 1000)));
        prop_assert_eq!(is_signed(&message.verify(&[&other_text], MOMENT * 1000)), signing == other);
    }
}
