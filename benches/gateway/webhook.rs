//! Webhooks as Clerk sends them through Svix: a new id, a new user, the moment, and a signature over all of it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use deskbell::clerk;
use deskbell::units::now;
use deskbell::verify::Secret;
use serde_json::{Value, json};

pub const SECRET: &str = "whsec_c2VjcmV0IG9mIHRoZSBiZW5jaG1hcms=";
const TYPE: &str = "user.created";
/// As many bytes as a person with two addresses, a telephone and a few values of the application has.
pub const USUAL: usize = 3_000;

const ID: &str = "msg_000000000000000000000000000";
const TIMESTAMP: &str = "0000000000";
const SIGNATURE: &str = "v1,00000000000000000000000000000000000000000000";
const USER: &str = "user_000000000000000000000000000";

/// The body of a new user, about so long.
fn body(length: usize) -> String {
    let mut event = clerk::sample(TYPE).expect("a sample");
    clerk::set(&mut event, "data.id", USER.into()).expect("an id");
    clerk::set(&mut event, "data.external_accounts", json!([])).expect("a list");
    let mut values = 0;
    while event.to_string().len() < length {
        values += 1;
        let value = json!({"id": values, "name": "Quarterly report", "seen": false, "tags": ["finance", "draft"]});
        clerk::set(&mut event, &format!("data.public_metadata.document_{values}"), value).expect("a value");
        if length > 10 * USUAL {
            return long_body(event, length);
        }
    }
    event.to_string()
}

/// The same without measuring it again and again.
fn long_body(mut event: Value, length: usize) -> String {
    let documents = event["data"]["public_metadata"].as_object_mut().expect("values");
    let document = documents["document_1"].clone();
    let each = document.to_string().len() + "\"document_1000\":,".len();
    documents.extend((2..length / each).map(|number| (format!("document_{number}"), document.clone())));
    event.to_string()
}

/// Makes requests, one after another in the same place.
#[derive(Clone)]
pub struct Webhooks {
    secret: Secret,
    bytes: Vec<u8>,
    id: usize,
    timestamp: usize,
    signature: usize,
    body: usize,
    users: Vec<usize>,
    ids: Ids,
}

impl Webhooks {
    pub fn new(length: usize) -> Self {
        let body = body(length);
        let request = format!(
            "POST /webhooks/clerk HTTP/1.1\r\nhost: gateway.example.com\r\naccept: */*\r\n\
             user-agent: Svix-Webhooks/1.84.0 (sender-9YMgn; +https://www.svix.com/http-sender/)\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\
             svix-id: {ID}\r\nsvix-timestamp: {TIMESTAMP}\r\nsvix-signature: {SIGNATURE}\r\n\r\n{body}",
            body.len()
        );
        let place = |header: &str| request.find(header).expect(header) + header.len();
        Self {
            secret: Secret::parse(SECRET).expect("a secret"),
            id: place("svix-id: "),
            timestamp: place("svix-timestamp: "),
            signature: place("svix-signature: "),
            body: request.len() - body.len(),
            users: request.match_indices(USER).map(|(at, _)| at).collect(),
            bytes: request.into_bytes(),
            ids: Ids::new(),
        }
    }

    /// The same with other ids, for another thread.
    pub fn another(&self) -> Self {
        Self { ids: Ids::new(), ..self.clone() }
    }

    pub fn body_length(&self) -> usize {
        self.bytes.len() - self.body
    }

    /// The next webhook, not signed: its id and its body.
    pub fn unsigned(&mut self) -> (String, Vec<u8>) {
        let id = format!("msg_{}", self.ids.next(now()));
        self.put_user();
        (id, self.bytes[self.body..].to_vec())
    }

    /// Makes the next webhook, signed now.
    pub fn sign(&mut self) {
        let moment = now();
        let id = format!("msg_{}", self.ids.next(moment));
        let timestamp = (moment / 1000).to_string();
        self.put_user();
        let signature = self.secret.sign(&id, &timestamp, &self.bytes[self.body..]);
        self.put(self.id, &id);
        self.put(self.timestamp, &timestamp);
        self.put(self.signature, &signature);
    }

    /// The request that was signed last.
    pub fn signed(&self) -> &[u8] {
        &self.bytes
    }

    fn put_user(&mut self) {
        let user = format!("user_{}", self.ids.next(now()));
        for at in std::mem::take(&mut self.users) {
            self.put(at, &user);
            self.users.push(at);
        }
    }

    fn put(&mut self, at: usize, text: &str) {
        self.bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
}

/// KSUIDs as Svix makes them: ordered by time in steps of four milliseconds, and by chance within.
#[derive(Clone)]
pub struct Ids {
    /// A state of splitmix64.
    chance: u64,
}

/// KSUIDs count seconds from here.
const EPOCH: i64 = 1_400_000_000;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 27;

impl Ids {
    pub fn new() -> Self {
        Self { chance: RandomState::new().hash_one(0) }
    }

    pub fn next(&mut self, moment: i64) -> String {
        let seconds = (moment / 1000 - EPOCH) as u32;
        let part = (moment % 1000 / 4) as u32;
        let [first, second] = [self.draw(), self.draw()];
        let mut number =
            [seconds, part << 24 | (first >> 40) as u32, first as u32, (second >> 32) as u32, second as u32];
        let mut text = [b'0'; LENGTH];
        for digit in text.iter_mut().rev() {
            let mut rest = 0;
            for limb in &mut number {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 62) as u32;
                rest = value % 62;
            }
            *digit = DIGITS[rest as usize];
        }
        text.iter().map(|digit| char::from(*digit)).collect()
    }

    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
