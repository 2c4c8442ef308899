//! The tables, from the whole file down to what a test expects.

use super::Shape::{
    Any, Boolean, Count, Duration, Either, Event, EventType, Filled, List, Map, Name, Named, OneOrList, Rate, Room,
    Sample, Size, Text, Tree, Word, Workflow, WorkflowId,
};
use super::{Key, Object, Rivals, Shape};

/// The most deliveries that `each` makes of one event.
pub const MAX_EACH: u64 = 1_000;
/// The most entries of `context`, by Novu's limit.
pub const MAX_CONTEXT: u64 = 5;
/// The longest name of a route or a source. It stands in addresses, labels and log lines.
pub const MAX_NAME: u64 = 128;
/// A warning, as `allow` names it.
#[derive(Debug)]
pub struct Warning {
    pub name: &'static str,
    /// Why it is probably a mistake.
    pub why: &'static str,
}

/// Every warning that there is.
#[rustfmt::skip]
pub const WARNINGS: [Warning; 10] = [
    Warning { name: "unknown_event_type", why: "a route for an event that never comes is never taken" },
    Warning { name: "unknown_path", why: "what is not there is left out of a text, and keeps a filter from holding" },
    Warning { name: "always_there", why: "a path alone asks whether the member is there, and not what its value is" },
    Warning { name: "unsafe_metadata", why: "users can write `unsafe_metadata` themselves, and would choose who gets the message" },
    Warning { name: "private_metadata", why: "`private_metadata` is for your own servers, and what is sent is kept and shown by Novu" },
    Warning { name: "first_not_primary", why: "the first of the list need not be the primary one" },
    Warning { name: "not_resolved", why: "only `sources`, `novu` and `vars` take values from outside" },
    Warning { name: "sent_by_clerk", why: "what Clerk sends itself would reach people twice" },
    Warning { name: "code_without_max_age", why: "a code that comes late no longer works" },
    Warning { name: "same_delivery", why: "people would get the same message twice" },
];

pub static FILE: Object = Object {
    name: "file",
    rivals: Rivals::None,
    keys: &[
        Key::new("sources", Named(&SOURCE), "where webhooks come from; `clerk` posts to `/webhooks/clerk`")
            .default(r#"{"clerk":{"signing_secrets":["${CLERK_WEBHOOK_SIGNING_SECRET}"]}}"#),
        Key::new("novu", Shape::Object(&NOVU), "the Novu environment that is sent to"),
        Key::new("vars", Map(&Tree), "constants for templates, as in `{{vars.app_name}}`")
            .example(r#"{"app_name":"Acme"}"#),
        Key::new("delivery", Shape::Object(&DELIVERY), "how deliveries are made"),
        Key::new(
            "retention",
            Duration,
            "how long bodies and requests are kept after the last delivery of an event has ended",
        )
        .default("7d"),
        Key::new(
            "remember",
            Duration,
            "how long an event counts as known after it came, if that is longer. Svix resends for 90 days",
        )
        .default("100d"),
        Key::new("limits", Shape::Object(&LIMITS), "where the gateway says no"),
        Key::new("routes", List(&Shape::Object(&ROUTE)), "which event starts which workflow")
            .required("a whole file is `routes: [{ event: user.created, workflow: welcome }]`")
            .example(r#"[{"event":"user.created","workflow":"welcome"}]"#),
        Key::new("tests", List(&Shape::Object(&TEST)), "which deliveries an event has to become")
            .default("[]")
            .example(r#"[{"event":"user.created","expect":[{"route":"welcome"}]}]"#),
    ],
};

pub static SOURCE: Object = Object {
    name: "source",
    rivals: Rivals::None,
    keys: &[
        Key::new("signing_secrets", OneOrList(&Filled, 1), "of its endpoint at Clerk; two while it is changed")
            .required("such as `signing_secrets: [\"${CLERK_WEBHOOK_SIGNING_SECRET}\"]`")
            .example(r#"["${CLERK_WEBHOOK_SIGNING_SECRET}"]"#),
        Key::new("novu", Shape::Object(&NOVU), "where this source differs from `novu` of the file")
            .example(r#"{"secret_key":"${NOVU_STAGING_KEY}"}"#),
    ],
};

pub static NOVU: Object = Object {
    name: "Novu account",
    rivals: Rivals::None,
    keys: &[
        Key::new("api_url", Filled, "in the EU, `https://eu.api.novu.co`. Left out: `NOVU_API_URL`, if that is set")
            .default("https://api.novu.co")
            .example("https://eu.api.novu.co"),
        Key::new("secret_key", Filled, "of one environment of Novu").default("${NOVU_SECRET_KEY}"),
    ],
};

pub static DELIVERY: Object = Object {
    name: "delivery",
    rivals: Rivals::None,
    keys: &[
        Key::new("concurrency", Count, "attempts at the same time").default("32").most(1_000),
        Key::new("timeout", Duration, "of one attempt").default("10s"),
        Key::new(
            "rate",
            Rate,
            "just below the limit that Novu names; or also below your own for each Novu key, such as `60/s`",
        )
        .default("auto")
        .example("60/s")
        .most(100_000),
        Key::new("bulk", Word(&["auto", "off"]), "up to 100 deliveries in one call to Novu, where that is faster")
            .default("auto"),
        Key::new("retry", Shape::Object(&RETRY), "when an attempt that failed is made again"),
    ],
};

pub static RETRY: Object = Object {
    name: "retry",
    rivals: Rivals::None,
    keys: &[
        Key::new("first", Duration, "the first pause; each is twice as long as the one before").default("1s"),
        Key::new("longest", Duration, "the longest pause").default("5m"),
        Key::new("unknown", Duration, "the least pause after an outcome that stayed unknown").default("30s"),
        Key::new("give_up_after", Duration, "pauses of this length in all, and the delivery is dead").default("24h"),
    ],
};

pub static LIMITS: Object = Object {
    name: "limits",
    rivals: Rivals::None,
    keys: &[
        Key::new("body", Size, "the size of one webhook").default("1MiB").most(64 << 20),
        Key::new("queue", Count, "deliveries that may wait").default("1000000").most(1_000_000_000),
        Key::new(
            "free_disk",
            Room,
            "the room that the disk of the store keeps: webhooks are refused below it. `auto` is 64MiB, or a tenth of a smaller disk",
        )
        .default("auto")
        .example("64MiB")
        .most(1 << 50),
    ],
};

pub static ROUTE: Object = Object {
    name: "route",
    rivals: Rivals::AtMostOne(["subscriber", "topic"]),
    keys: &[
        Key::new(
            "event",
            OneOrList(&EventType, 1),
            "a Clerk event type, a list, or a glob in quotes: `\"organization.*\"`, `\"*\"`",
        )
        .required("say which event it wants, such as `event: user.created`")
        .example("user.created"),
        Key::new(
            "source",
            OneOrList(&Filled, 1),
            "only events of this source, or of a list of them. Left out: of every source",
        )
        .example("clerk"),
        Key::new("filter", OneOrList(&Filled, 1), "a JSONPath condition, or a list of which all must hold")
            .example("$.data.delivered_by_clerk == false"),
        Key::new("workflow", Either(&Workflow, &Shape::Object(&WORKFLOW)), "a Novu workflow id, or a table")
            .required("say which Novu workflow it starts, such as `workflow: welcome`")
            .example("welcome"),
        Key::new(
            "name",
            Name,
            "unique. Left out: the workflow id, so a new workflow id is then a new route. Needed where the workflow is \
             not one plain id, or two routes share it",
        )
        .example("auth-emails")
        .most(MAX_NAME),
        Key::new(
            "subscriber",
            Shape::Object(&SUBSCRIBER),
            "a Novu subscriber, an object of templates. Left out: filled in from the event",
        )
        .example(r#"{"subscriberId":"{{data.user_id}}"}"#),
        Key::new("topic", Filled, "the key of a Novu topic, instead of a subscriber")
            .example("org-{{data.organization.id}}"),
        Key::new("payload", Map(&Tree), "a tree of templates for Novu, as it is")
            .example(r#"{"name":"{{data.first_name}}"}"#),
        Key::new("overrides", Map(&Tree), "a tree of templates: settings of Novu's providers")
            .example(r#"{"email":{"replyTo":"help@example.com"}}"#),
        Key::new("actor", Either(&Text, &Map(&Tree)), "who did it: a subscriber id, or a subscriber, of templates")
            .example("{{data.user_id}}"),
        Key::new("tenant", Either(&Text, &Map(&Tree)), "a tenant's identifier, or a tenant, of templates")
            .example("{{data.organization.id}}"),
        Key::new("context", Map(&Tree), "a tree of templates: entries by which Novu groups what it sends")
            .example(r#"{"tenant":"{{data.organization.id}}"}"#)
            .most(MAX_CONTEXT),
        Key::new("each", Filled, "a JSONPath: one delivery for each selected node, which templates see as `item`")
            .example("$.data.email_addresses[*]")
            .most(MAX_EACH),
        Key::new("max_age", Duration, "from the event's own `timestamp`; what is older is never sent").example("10m"),
        Key::new("priority", Word(&["high", "normal", "low"]), "who goes first when there is a queue")
            .default("normal"),
        Key::new("action", Word(&["trigger"]), "what is asked of Novu").default("trigger"),
        Key::new(
            "sensitive",
            Boolean,
            "`true`: the request is erased as soon as it is delivered, and the event's body once no other delivery of \
             it waits or is dead",
        )
        .default("false"),
        Key::new("enabled", Boolean, "`false` switches the route off").default("true"),
        Key::new(
            "allow",
            OneOrList(&Shape::Warning, 0),
            "codes of warnings that are meant, such as `unknown_event_type`",
        )
        .example("unknown_event_type"),
    ],
};

pub static WORKFLOW: Object = Object {
    name: "workflow table",
    rivals: Rivals::None,
    keys: &[
        Key::new("by", Filled, "the value that is looked up, by its JSONPath")
            .required("such as `by: $.data.slug`")
            .example("$.data.slug"),
        Key::new("cases", Map(&WorkflowId), "the workflow id for each value")
            .required("such as `cases: { passkey_added: security-passkey-created }`")
            .example(r#"{"passkey_added":"security-passkey-created"}"#),
        Key::new("default", Workflow, "the workflow for every other value. Left out: the route is not taken then")
            .example("email-other"),
    ],
};

/// Novu's subscriber object (OpenAPI 3.18, `SubscriberPayloadDto`). Novu ignores other keys without a word.
pub static SUBSCRIBER: Object = Object {
    name: "subscriber",
    rivals: Rivals::None,
    keys: &[
        Key::new("subscriberId", Tree, "under which Novu knows the person")
            .required("such as `subscriberId: \"{{data.user_id}}\"`, or leave `subscriber` out to have it filled in")
            .example("{{data.user_id}}"),
        Key::new("firstName", Tree, "the first name").example("{{data.first_name}}"),
        Key::new("lastName", Tree, "the last name").example("{{data.last_name}}"),
        Key::new("email", Tree, "the e-mail address").example("{{primary_email}}"),
        Key::new("phone", Tree, "the phone number").example("{{primary_phone}}"),
        Key::new("avatar", Tree, "the address of a picture").example("{{data.image_url}}"),
        Key::new("locale", Tree, "the language, such as `en-US`").example("{{data.locale}}"),
        Key::new("timezone", Tree, "the time zone, such as `Europe/Berlin`").example("Europe/Berlin"),
        Key::new("data", Tree, "an object of your own").example(r#"{"plan":"{{data.public_metadata.plan}}"}"#),
        Key::new("channels", Tree, "credentials of chat and push, as Novu documents them"),
    ],
};

pub static TEST: Object = Object {
    name: "test",
    rivals: Rivals::ExactlyOne(["event", "file"]),
    keys: &[
        Key::new("name", Text, "what messages call it").example("a new user is welcomed"),
        Key::new("event", Either(&Sample, &Event), "the name of a sample, or an event written out")
            .example("user.created"),
        Key::new("file", Text, "instead of `event`: a file with an event, from the folder of this file")
            .example("event.json"),
        Key::new("set", Map(&Any), "changes to the event: a path and its new value")
            .example(r#"{"data.first_name":"Ada"}"#),
        Key::new("unset", OneOrList(&Text, 0), "paths that are removed from the event").example("data.first_name"),
        Key::new("source", Text, "where the event comes from. Left out: the first source").example("clerk"),
        Key::new("expect", List(&Shape::Object(&EXPECT)), "the complete list of deliveries; `[]`: nothing is sent")
            .required("list what is sent, or write `expect: []` for nothing")
            .example(r#"[{"route":"welcome"}]"#),
    ],
};

pub static EXPECT: Object = Object {
    name: "expected delivery",
    rivals: Rivals::None,
    keys: &[
        Key::new("route", Text, "the name of the route").example("welcome"),
        Key::new("workflow", Any, "the workflow id that Novu gets").example("welcome"),
        Key::new("subscriber", Any, "the subscriber, as far as it is named").example(r#"{"firstName":"Ada"}"#),
        Key::new("topic", Any, "the key of the topic").example("org-acme"),
        Key::new("payload", Any, "the payload, as far as it is named").example(r#"{"name":"Ada"}"#),
        Key::new("overrides", Any, "the overrides, as far as they are named"),
        Key::new("actor", Any, "the actor, as far as it is named"),
        Key::new("tenant", Any, "the tenant, as far as it is named"),
        Key::new("context", Any, "the context, as far as it is named"),
    ],
};
