//! What `check` warns of: probable mistakes, and what only looks like one.

mod meant;

use crate::problems::check_routes;
use crate::shell::run_with;

/// A route for one event, with more keys in it, after `vars: { app: Acme }`.
#[track_caller]
fn check_one(event: &str, keys: &str, expected: &[&[&str]]) {
    check_routes(&format!("  - {{ name: r, event: {event}, workflow: w, {keys} }}\nvars: {{ app: Acme }}"), expected);
}

/// A template in the payload of a route, with the part of the warning that names it.
#[track_caller]
fn check_template(event: &str, template: &str, expected: &[&str]) {
    check_one(event, &format!("payload: {{ a: «'{template}' }}"), &[expected]);
}

#[track_caller]
fn check_filter(event: &str, filter: &str, expected: &[&str]) {
    check_one(event, &format!("filter: «\"{filter}\""), &[expected]);
}

#[test]
fn a_path_that_no_sample_has_is_told_with_what_was_probably_meant() {
    for (template, said, hint) in [
        ("{{data.emial}}", "`data.emial` is in no sample of `user.created`", "`{{primary_email}}`"),
        ("{{data.email}}", "`data.email` is", "`{{primary_email}}`"),
        ("{{data.phone}}", "`data.phone` is", "`{{primary_phone}}`"),
        ("{{data.name}}", "`data.name` is", "`{{full_name}}`"),
        ("Hi {{data.frist_name}}!", "`data.frist_name` is", "`data.first_name`"),
        ("{{first_name}}", "`first_name` is", "`data.first_name`"),
        ("{{data.email_addresses.length}}", "`data.email_addresses.length` is", "`{{len data.email_addresses}}`"),
        (
            "{{data.email_addresses.id}}",
            "`data.email_addresses.id` is",
            "it is a list: `{{#each data.email_addresses}}`",
        ),
        ("{{data.otp_code}}", "`data.otp_code` is", "`deskbell samples user.created`"),
        ("{{vars.apps}}", "`vars.apps` is not in `vars` of the file", "`vars.app`"),
        ("{{webhook.ids}}", "`webhook.ids` is", "`webhook.id`"),
        ("{{item.id}}", "`item.id` is", "the templates of a route with `each`"),
        ("{{upper (trim data.nope)}}", "`data.nope` is", "deskbell samples"),
        ("{{#if data.baned}}x{{/if}}", "`data.baned` is", "`data.banned`"),
        ("{{#if data.banned}}x{{else}}{{data.nope}}{{/if}}", "`data.nope` is", "deskbell samples"),
        ("{{lookup data \"nope\"}}", "`data.nope` is", "deskbell samples"),
        (
            "{{#each data.email_addresses}}{{emial_address}}{{/each}}",
            "`emial_address` is",
            "did you mean `email_address`?",
        ),
        ("{{#each data.email_addresses as |it|}}{{it.idd}}{{/each}}", "`it.idd` is", "`it.id`"),
        ("{{#each data.email_addresses}}{{vars.app}}{{/each}}", "`vars.app` is", "write `@root.vars.app`"),
        ("{{#with data}}{{email}}{{../data.nope}}{{/with}}", "`email` is", "`{{primary_email}}`"),
        ("{{jsonpath \"$.data.nope\"}}", "`$.data.nope` is", "deskbell samples"),
        ("{{jsonpath \"$.data.email_addresses[?@.idd == 1].id\"}}", "`@.idd` is", "`@.id`"),
    ] {
        let template = template.replace('\'', "''");
        let warning = format!("warning unknown_path routes[0].payload.a: {said}");
        if template.contains("../data.nope") {
            check_one(
                "user.created",
                &format!("payload: {{ a: ««'{template}' }}"),
                &[&[&warning, hint], &["`../data.nope` is"]],
            );
        } else {
            check_template("user.created", &template, &[&warning, hint]);
        }
    }
    check_template("session.created", "{{data.user.email}}", &["`{{primary_email data.user}}`"]);
    let handed_over = "email.created, filter: $.data.delivered_by_clerk == false";
    check_template(handed_over, "{{data.otp_code}}", &["`data.data.otp_code`"]);
}

#[test]
fn a_path_of_a_filter_a_table_or_each_is_held_against_the_samples_too() {
    check_filter("user.created", "$.data.frist_name == 'x'", &["unknown_path routes[0].filter", "`$.data.first_name`"]);
    check_filter("user.created", "length($.data.email_adresses) > 1", &["unknown_path", "`$.data.email_addresses`"]);
    check_filter(
        "user.created",
        "$.data.email_addresses.id == 1",
        &["it is a list: write `$.data.email_addresses[*].id`"],
    );
    check_filter("user.created", "$.data.email_addresses.length == 1", &["write `length($.data.email_addresses)`"]);
    check_filter("user.created", "$.vars.app == 'x'", &["unknown_path", "only templates see `vars`"]);
    check_filter(
        "user.deleted",
        "$.data.first_name == 'x'",
        &["`$.data.first_name` is in no sample of `user.deleted`"],
    );
    check_filter("[user.deleted, user.created]", "$.data.x == 1", &["no sample of `user.created`, `user.deleted`"]);
    check_filter("user.*", "$.data.email_addresses[?@.emial == 1]", &["unknown_path", "`@.emial` is in no sample of"]);
    check_routes(
        "  - { name: r, event: user.created, workflow: { by: «$.data.slug, cases: { a: b } } }",
        &[&["unknown_path routes[0].workflow.by: `$.data.slug`"]],
    );
    // What Clerk's own sources do not agree on.
    let disputed = "[role.deleted, permission.deleted], topic: t";
    check_one(disputed, "payload: { a: '{{data.name}}' }, filter: $.data.key == 'x'", &[]);
    // Once, and not again for all that follows from it.
    check_one(
        "user.created",
        "each: «'$.data.email_adresses[*]', payload: { a: '{{item.id}} {{#each item.linked_to}}{{type}}{{/each}}' }",
        &[&["unknown_path routes[0].each", "`$.data.email_addresses`"]],
    );
    check_one(
        "user.created",
        "each: '$.data.email_addresses[*]', payload: { a: «'{{item.idd}}', b: «'{{jsonpath \"$.item.nope\"}}' }",
        &[&["`item.idd` is", "`item.id`"], &["`$.item.nope` is"]],
    );
}

#[test]
fn a_value_from_outside_is_not_sent_under_its_name() {
    let told = &["warning not_resolved routes[0].payload.", "`${HOME}` is sent as it stands", "`{{vars.home}}`"];
    check_one("user.created", "payload: { a: «'in ${HOME}', b: [{ c: «'{{data.id}} ${HOME}' }] }", &[told, told]);
    let file = "subscriber: { subscriberId: '{{data.id}}', data: { a: «'${file:/run/x}' } }";
    check_one("user.created", file, &[&["not_resolved routes[0].subscriber.data.a", "`${file:/run/x}`"]]);
    check_one("user.created", "topic: «'${TEAM}'", &[&["not_resolved routes[0].topic"]]);
    check_routes(
        "  - { name: r, event: user.created, workflow: «'w-${ENV}' }",
        &[&["not_resolved routes[0].workflow"]],
    );
    for meant in ["costs ${{data.id}}", "$ {x}", "${}", "${a b}", "$HOME", "${1-x}"] {
        check_one("user.created", &format!("payload: {{ a: '{meant}' }}"), &[]);
    }
}

#[test]
fn asking_whether_something_is_there_that_always_is() {
    for (filter, said, hint) in [
        ("!$.data.banned", "so that `!$.data.banned` never holds", "`$.data.banned == false`"),
        ("$.data.banned", "so that `$.data.banned` always holds", "`$.data.banned == true`"),
        ("$.data.first_name", "always holds", "`length($.data.first_name) > 0`"),
        ("!$.data.first_name", "never holds", "`!(length($.data.first_name) > 0)`"),
        ("$.data.email_addresses", "always holds", "`length($.data.email_addresses) > 0`"),
        ("!$.data.last_sign_in_at", "never holds", "`$.data.last_sign_in_at == null`"),
        ("$.data.last_sign_in_at", "always holds", "`$.data.last_sign_in_at != null`"),
        ("$.data.id == 'x' || !($.data.locked)", "never holds", "`$.data.locked == false`"),
        ("$.data.email_addresses[?@.reserved]", "`@.reserved` always holds", "`@.reserved == true`"),
    ] {
        check_filter("user.created", filter, &["warning always_there routes[0].filter: every sample has", said, hint]);
    }
    check_one(
        "user.created",
        "each: «'$.data.email_addresses[?@.verification]', subscriber: { subscriberId: '{{item.id}}' }",
        &[&["always_there routes[0].each", "`@.verification != null`"]],
    );
}

#[test]
fn what_users_can_write_does_not_choose_who_gets_the_message() {
    for keys in [
        "subscriber: { subscriberId: «'{{data.unsafe_metadata.id}}' }",
        "subscriber: { subscriberId: x, email: «'{{lower data.unsafe_metadata.mail}}' }",
        "subscriber: { subscriberId: x, phone: «'{{default data.unsafe_metadata.phone \"1\"}}' }",
        "topic: «'team-{{data.unsafe_metadata.team}}'",
        "actor: «'{{data.unsafe_metadata.by}}'",
        "actor: { subscriberId: «'{{lookup data.unsafe_metadata \"by\"}}' }",
        "tenant: «'{{data.unsafe_metadata.tenant}}'",
        "tenant: { identifier: «'{{data.unsafe_metadata.tenant}}' }",
        "overrides: { email: { to: [«'{{data.unsafe_metadata.mail}}'] } }",
        "overrides: { email: { replyTo: «'{{#with data.unsafe_metadata}}{{mail}}{{/with}}' } }",
        "overrides: { providers: { sendgrid: { cc: «'{{jsonpath \"$.data.unsafe_metadata.mail\"}}' } } }",
        "each: '$.data.unsafe_metadata.friends[*]', subscriber: { subscriberId: «'{{item}}' }",
    ] {
        check_one(
            "user.created",
            keys,
            &[&["warning unsafe_metadata routes[0].", "users can write `unsafe_metadata`"]],
        );
    }
    check_routes(
        "  - { name: r, event: user.created, workflow: «'mail-{{data.unsafe_metadata.kind}}' }",
        &[&["unsafe_metadata routes[0].workflow"]],
    );
}

#[test]
fn private_metadata_does_not_go_out() {
    for template in [
        "{{data.private_metadata}}",
        "{{data.private_metadata.note}}",
        "x {{upper data.private_metadata.note}}",
        "{{default data.first_name data.private_metadata.note}}",
        "{{lookup data.private_metadata \"note\"}}",
        "{{#with data.private_metadata}}{{note}}{{/with}}",
        "{{#each data.private_metadata as |value key|}}{{key}}={{value}}{{/each}}",
        "{{#if data.banned}}x{{else}}{{data.private_metadata.note}}{{/if}}",
        "{{jsonpath \"$.data.private_metadata.note\"}}",
        "{{data}}",
        "{{json data}}",
        "{{this}}",
        "{{jsonpath \"$.data\"}}",
    ] {
        let expected = ["warning private_metadata routes[0].payload.a", "is for your own servers"];
        check_template("user.created", template, &expected);
    }
    check_template("organizationMembership.created", "{{data.organization}}", &["private_metadata"]);
    check_template("session.created", "{{data.user}}", &["private_metadata"]);
    check_one(
        "user.created",
        "subscriber: { subscriberId: a, data: { n: «'{{data.private_metadata.n}}' } }",
        &[&["private_metadata routes[0].subscriber.data.n"]],
    );
    check_one(
        "user.created",
        "each: '$.data.private_metadata.notes[*]', payload: { n: «'{{item.text}}' }",
        &[&["private_metadata routes[0].payload.n: `item.text` is sent"]],
    );
}

#[test]
fn the_first_address_is_not_taken_for_the_primary_one() {
    let expected = ["warning first_not_primary", "`{{primary_email}}` is the primary one"];
    check_template("user.created", "{{data.email_addresses.[0].email_address}}", &expected);
    check_template("user.created", "{{data.email_addresses.0.email_address}}", &expected);
    check_template("user.created", "{{#with data.email_addresses.[0]}}{{email_address}}{{/with}}", &expected);
    check_template("user.created", "{{jsonpath \"$.data.email_addresses[0].email_address\"}}", &["first_not_primary"]);
    check_template("user.created", "{{data.phone_numbers.[0].phone_number}}", &["`{{primary_phone}}`"]);
    check_template("session.created", "{{data.user.email_addresses.[0].id}}", &["`{{primary_email data.user}}`"]);
    check_filter(
        "user.created",
        "$.data.email_addresses[0].verification.status == 'verified'",
        &["first_not_primary", "`$.data.email_addresses[?@.id == $.data.primary_email_address_id && …]`"],
    );
}

#[test]
fn a_message_that_clerk_sends_itself_is_not_sent_again() {
    let expected: &[&str] = &["warning sent_by_clerk", "filter for `$.data.delivered_by_clerk == false`"];
    for event in ["email.created", "sms.created", "email.*", "[email.created, sms.created]"] {
        check_routes(&format!("  - {{ name: r, event: «{event}, workflow: w }}"), &[expected]);
    }
    check_filter("email.created", "$.data.slug == 'passkey_added'", expected);
}

#[test]
fn a_code_that_comes_late_is_told_of() {
    let expected: &[&str] = &["warning code_without_max_age routes[0].payload.a", "such as `max_age: 10m`"];
    let handed_over = "filter: $.data.delivered_by_clerk == false";
    for template in ["{{data.data.otp_code}}", "{{data.data}}", "{{json data}}", "{{data.subject}}", "{{data.body}}"] {
        check_one("email.created", &format!("{handed_over}, payload: {{ a: «'{template}' }}"), &[expected]);
    }
    check_one("sms.created", &format!("{handed_over}, payload: {{ a: «'{{{{data.message}}}}' }}"), &[expected]);
    // No sample is like it, and it says that it is a code.
    let unheard = "filter: $.data.delivered_by_clerk == false && $.data.slug == 'new_code'";
    check_one("email.created", &format!("{unheard}, payload: {{ a: «'{{{{data.data.otp_code}}}}' }}"), &[expected]);
    check_one("email.created", &format!("{unheard}, payload: {{ a: '{{{{data.data}}}}' }}"), &[]);
    let password = "filter: $.data.delivered_by_clerk == false && $.data.slug == 'password_changed'";
    check_one("email.created", &format!("{password}, payload: {{ a: '{{{{data.data.otp_code}}}}' }}"), &[]);
}

#[test]
fn two_routes_that_send_the_same_for_one_event_are_told() {
    let expected: &[&[&str]] = &[&["warning same_delivery routes[1]: it sends the same as the route `first`"]];
    let second = |second: &str, expected: &[&[&str]]| {
        let first = "  - { name: first, event: user.created, workflow: w, payload: { a: 1, b: x } }";
        let mark = if expected.is_empty() { "" } else { "«" };
        check_routes(&format!("{first}\n  - {mark}{{ name: second, {second} }}"), expected);
    };
    second("event: user.created, workflow: w, payload: { b: x, a: 1 }", expected);
    second("event: user.*, workflow: w, payload: { a: 1, b: x }, priority: high, max_age: 1h", expected);
    second("event: user.created, workflow: w, payload: { a: 1, b: y }", &[]);
    second("event: user.created, workflow: v, payload: { a: 1, b: x }", &[]);
    second("event: user.created, workflow: w, payload: { a: 1, b: x }, topic: t", &[]);
    second("event: user.updated, workflow: w, payload: { a: 1, b: x }", &[]);
    second("event: user.created, workflow: w, payload: { a: 1, b: x }, enabled: false", &[]);
}

#[test]
fn filters_that_both_hold_for_a_sample_do_not_keep_routes_apart() {
    let two = |event: &str, first: &str, second: &str, expected: &[&[&str]]| {
        let mark = if expected.is_empty() { "" } else { "«" };
        check_routes(
            &format!(
                "  - {{ name: a, event: {event}, workflow: w, filter: \"{first}\" }}\n  - {mark}{{ name: b, event: {event}, workflow: w, filter: \"{second}\" }}"
            ),
            expected,
        );
    };
    let same: &[&[&str]] = &[&["same_delivery routes[1]", "the route `a`", "exclude each other"]];
    two("user.created", "$.data.banned == false", "$.data.locked == false", same);
    // No sample has it, and the two say the same.
    two("user.created", "$.data.public_metadata.x == 1", "$.data.public_metadata.x == 1", same);
    two("user.created", "$.data.public_metadata.x == 1", "$.data.public_metadata.x == 2", &[]);
    let code = "$.data.delivered_by_clerk == false && search($.data.slug, 'password')";
    two("email.created", code, "$.data.delivered_by_clerk == false && $.data.slug != null", same);
    two("email.created", code, "$.data.delivered_by_clerk == false && $.data.slug == 'invitation'", &[]);
}

#[test]
fn a_warning_is_allowed_by_its_name_in_its_route_alone() {
    let route = |name: &str, mark: &str, allow: &str| {
        format!(
            "  - {{ name: {name}, event: user.created, workflow: {name}, payload: {{ a: {mark}'{{{{data.nope}}}}' }}{allow} }}\n"
        )
    };
    let allowed = route("a", "", ", allow: [unknown_path]");
    check_routes(&format!("{allowed}{}", route("b", "«", "")), &[&["unknown_path routes[1]"]]);
    check_routes(&route("a", "«", ", allow: [always_there, same_delivery]"), &[&["unknown_path"]]);
    for (name, keys) in [
        ("always_there", "event: user.created, workflow: w, filter: $.data.banned"),
        ("unsafe_metadata", "event: user.created, workflow: w, topic: '{{data.unsafe_metadata.x}}'"),
        ("private_metadata", "event: user.created, workflow: w, payload: { a: '{{data}}' }"),
        ("first_not_primary", "event: user.created, workflow: w, payload: { a: '{{data.phone_numbers.[0].id}}' }"),
        ("sent_by_clerk", "event: sms.created, workflow: w"),
        (
            "code_without_max_age",
            "event: sms.created, workflow: w, filter: $.data.delivered_by_clerk == false, payload: { a: '{{data.message}}' }",
        ),
    ] {
        check_routes(&format!("  - {{ {keys}, allow: {name} }}"), &[]);
    }
    check_routes(
        "  - { name: a, event: user.created, workflow: w }\n  - { name: b, event: user.created, workflow: w, allow: same_delivery }\n  - «{ name: c, event: user.created, workflow: w }",
        &[&["same_delivery routes[2]", "the route `a`"]],
    );
}

#[test]
fn a_warning_of_one_route_stands_beside_an_error_of_another() {
    check_routes(
        "  - { event: user.created, workflow: a, payload: { a: «'{{data.nope}}' } }\n  - { event: user.created, workflow: b, filter: «x }",
        &[&["warning unknown_path"], &["error bad_jsonpath"]],
    );
}

#[test]
fn warnings_are_told_in_every_format_and_count_when_that_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    std::fs::write(&file, "routes: [{ event: user.created, workflow: a, filter: $.data.banned }]\n").expect("a file");
    for (arguments, status, said) in [
        ("check", 0, "warning[always_there]: every sample has `$.data.banned`"),
        ("check --strict", 1, "warnings count as errors"),
        ("check --format github", 0, "title=always_there::every sample has"),
    ] {
        let ran = run_with(arguments, |command| {
            command.arg(&file);
        });
        assert_eq!(ran.status, status, "{arguments}");
        assert!(ran.stdout.contains(said), "{arguments}: {}", ran.stdout);
    }
}
