//! Values that do not belong where they stand, and all of it at once.

use super::{check, check_route, check_routes};

/// The text with a mark at the character that the message names.
fn marked(text: &str, message: &str) -> String {
    let place = message.rsplit_once("at character ").and_then(|(_, place)| place.parse::<usize>().ok());
    let place = place.expect("a place") - 1;
    text.chars().take(place).chain(['«']).chain(text.chars().skip(place)).collect()
}

#[test]
fn a_filter_that_is_no_jsonpath_is_told_with_the_place_and_the_right_spelling() {
    for (filter, message, hint) in [
        ("data.banned", "unexpected `data`, at character 1", "write `$.data.banned`"),
        (
            "$.data.slug in ['a','b']",
            "`in` is not JSONPath, at character 13",
            "$.data.slug == 'a' || $.data.slug == 'b'",
        ),
        ("$.data.slug =~ 'x'", "`=~` is not JSONPath, at character 13", "`search($.data.name, 'part')`"),
        ("$.data.slug = 'x'", "`=` is not JSONPath, at character 13", "write `==`"),
        ("$.data.slug == x", "the string `x` without quotes, at character 16", "write `'x'`"),
        ("$.data.é == (", "`(` is not closed, at character 13", "hint: "),
        ("$.data.a[?@.b", "`[` is not closed, at character 9", "hint: "),
        ("$.data.name.length() == 1", "`length` is called like a method, at character 13", "`length($.data.name)`"),
        ("", "unexpected end, at character 1", "hint: "),
    ] {
        let message = format!("error bad_jsonpath routes[0].filter: {message}");
        check_route(&format!("    filter: \"{}\"", marked(filter, &message)), &[&[&message, hint]]);
    }
    check_route("    filter: [$.data.id, '$.a«[', $.b, «c]", &[&["routes[0].filter[1]"], &["routes[0].filter[3]"]]);
    check_route(
        "    filter: «true",
        &[&["bad_value routes[0].filter: `true` does not belong here", "put it in quotes"]],
    );
    check_route("    each: «data.list", &[&["bad_jsonpath routes[0].each: unexpected `data`"]]);
    check_route("    each: $.data.a «== 1", &[&["bad_jsonpath routes[0].each: unexpected `==`, at character 10"]]);
    check_routes(
        "  - { name: a, event: user.created, workflow: { by: «data.id, cases: { a: b } } }",
        &[&["bad_jsonpath routes[0].workflow.by: unexpected `data`"]],
    );
    check_route(
        "    payload: { a: 'id {{#if data.id}}«{{jsonpath \"$.a[\"}}{{/if}}' }",
        &[&["bad_template", "`$.a[` is not a JSONPath"]],
    );
}

#[test]
fn a_template_that_cannot_work_is_told_before_there_is_an_event() {
    for (template, message, hint) in [
        ("{{uper data.id}}", "there is no helper `uper`, at character 1", "did you mean `upper`?"),
        ("Hello, {{shout data.id}}", "there is no helper `shout`, at character 8", "there are `if`, `unless`"),
        ("é {{#shout}}x{{/shout}}", "there is no block `shout`, at character 3", "there are `if`"),
        ("{{upper (shout data.id)}}", "there is no helper `shout`, at character 1", "there are"),
        ("{{data.id", "not a Handlebars template, at character 10", "an expression is `{{data.first_name}}`"),
        ("{{#if data.id}}x", "not a Handlebars template, at character 17", "`{{#if data.banned}}…{{/if}}`"),
        (
            "{{#if data.id}}x{{/unless}}",
            "not a Handlebars template: helper \"if\" was opened, but \"unless\" is closing, at character 17",
            "`{{#if data.banned}}…{{/if}}`",
        ),
        ("{{> header}}", "partials and decorators are not available here, at character 1", "hint: "),
        ("{{date data.id '%!'}}", "`%!` is not a date format, such as `%d %B %Y`, at character 1", "hint: "),
    ] {
        let message = format!("error bad_template routes[0].payload.a[0].b: {message}");
        let marked = marked(template, &message);
        check_route(&format!("    payload: {{ a: [{{ b: \"{marked}\" }}] }}"), &[&[&message, hint]]);
    }
    check_route("    subscriber: { subscriberId: '{{a«' }", &[&["bad_template routes[0].subscriber.subscriberId"]]);
    check_route("    topic: '{{a«'", &[&["bad_template routes[0].topic"]]);
    check_routes("  - { name: a, event: user.created, workflow: 'a-{{b«' }", &[&["bad_template routes[0].workflow"]]);
}

#[test]
fn a_mistake_in_a_text_that_is_written_otherwise_is_told_at_its_start() {
    for text in ["«'it''s {{shout x}}'", "«\"\\t{{shout x}}\"", ">-\n      «x\n      {{shout x}}"] {
        check_route(&format!("    payload:\n     a: {text}"), &[&["bad_template", "`shout`, at character "]]);
    }
    let block = "    payload:\n     a: |\n       é {{data.id}}\n        x «{{shout x}}\n     b: |\n       «{{shout x}}";
    check_route(block, &[&["`shout`, at character 18"], &["`shout`, at character 1;"]]);
    let long = "x".repeat(5_000);
    check_route(&format!("    payload: {{ a: «'{long}{{{{shout x}}}}' }}"), &[&["`shout`, at character 5001"]]);
}

#[test]
fn a_mistake_behind_an_anchor_is_told_once() {
    check_routes(
        "  - { event: user.created, workflow: a, payload: &p { x: '«{{shout y}}' } }\n  - { event: user.created, workflow: b, payload: *p }\n  - { event: user.created, workflow: c, payload: { q: *p } }",
        &[&["bad_template routes[0].payload.x"]],
    );
    check_routes(
        "  - { event: user.created, workflow: a, subscriber: &s { subscriberId: x, «frstName: y } }\n  - { event: user.created, workflow: b, subscriber: *s }",
        &[&["unknown_key routes[0].subscriber.frstName"]],
    );
    // The value is the same, and the two keys are two mistakes.
    check_routes(
        "  - { event: user.created, workflow: a, «filer: &f $.data.id }\n  - { event: user.created, workflow: b, «filer: *f }",
        &[&["unknown_key routes[0].filer"], &["unknown_key routes[1].filer"]],
    );
    // Where it was written it was right.
    check(
        "vars: { t: &t '{{shout x}}' }\nroutes:\n  - { event: user.created, workflow: a, payload: { x: «*t } }\n  - { event: user.created, workflow: b, payload: { x: *t } }\n",
        &[&["bad_template routes[0].payload.x"]],
    );
}

#[test]
fn an_event_alone_never_chooses_the_workflow() {
    let expected = "expected a template behind a literal prefix, such as `email-{{data.slug}}`";
    check_routes(
        "  - { event: email.created, workflow: «'{{data.slug}}' }",
        &[&["error open_workflow routes[0].workflow", expected, "or a table of `by`, `cases` and `default`"]],
    );
    check_routes(
        "  - { name: a, event: user.created, workflow: { by: $.data.id, cases: { x: y }, default: «'{{data.id}}-x' } }",
        &[&["open_workflow routes[0].workflow.default", expected]],
    );
    check_routes(
        "  - { name: a, event: user.created, workflow: { by: $.data.id, cases: { x: «'a-{{data.id}}' } } }",
        &[&["bad_value routes[0].workflow.cases.x", "expected a Novu workflow id"]],
    );
    check_routes("  - { name: a, event: user.created, workflow: 'user-{{data.id}}' }", &[]);
    check_routes(
        "  - { name: a, event: user.created, workflow: { by: $.data.id, cases: «{} } }",
        &[&["bad_value routes[0].workflow.cases: an empty object does not belong here", "at least one case"]],
    );
    check_routes("  - { name: a, event: user.created, workflow: { by: $.data.id, cases: {}, default: x } }", &[]);
}

#[test]
fn somebody_has_to_get_what_is_sent() {
    let nobody = |types: &str| format!("error no_subscriber routes[0]: nobody to send to: {types} names no person");
    for (event, types) in [
        ("role.*", "`role.created`, `role.updated`, `role.deleted`"),
        ("permission.deleted", "`permission.deleted`"),
        ("[user.created, organization.updated]", "`organization.updated`"),
        ("organizationDomain.c*", "`organizationDomain.created`"),
    ] {
        let route = format!("  - «{{ event: {event}, workflow: a }}");
        check_routes(&route, &[&[&nobody(types), "expected a `subscriber` or a `topic`", "such as `topic:"]]);
        check_routes(&route.replace('«', "").replace(" }", ", topic: t }"), &[]);
    }
    check_routes("  - «{ event: '*', workflow: a }", &[&["no_subscriber", "`organization.created`", "`role.created`"]]);
    check_routes(
        "  - «{ event: subscription.*, workflow: a }",
        &[&["note no_subscriber routes[0]: a bill that an organization pays", "`length($.data.payer.user_id) > 0`"]],
    );
    check_routes("  - { event: subscription.*, workflow: a, filter: length($.data.payer.user_id) > 0 }", &[]);
    check_route(
        "    subscriber: { subscriberId: x }\n    topic: «t",
        &[&["error bad_value routes[0].topic", "and this one has both", "write two routes"]],
    );
    check_route("    subscriber: «user_1", &[&["bad_value routes[0].subscriber: `user_1` does not belong here"]]);
    check_route("    topic: «''", &[&["bad_value routes[0].topic", "expected the key of a Novu topic"]]);
}

#[test]
fn a_value_of_another_kind_is_told_with_what_belongs_there() {
    let duration = "expected a duration such as `500ms`";
    for (line, path, expected) in [
        ("    max_age: «10", "routes[0].max_age: a number", duration),
        ("    max_age: «10 minutes", "routes[0].max_age: `10 minutes`", duration),
        ("    max_age: «0s", "routes[0].max_age: `0s`", duration),
        ("    priority: «urgent", "routes[0].priority: `urgent`", "one of `high`, `normal`, `low`"),
        ("    action: «subscribe", "routes[0].action: `subscribe`", "one of `trigger`"),
        ("    sensitive: «yes", "routes[0].sensitive: `yes`", "`true` or `false`"),
        ("    enabled: «'false'", "routes[0].enabled: `false`", "`true` or `false`"),
        ("    name: «3", "routes[0].name: a number", "hint: put it in quotes"),
        ("    name: «''", "routes[0].name: ``", "a name of 1 to 128 characters"),
        ("    payload: «text", "routes[0].payload: `text`", "an object of keys and values"),
        ("    actor: «[x]", "routes[0].actor: a list", "a subscriber id or a subscriber object"),
        ("    context: «{a: x, b: x, c: x, d: x, e: x, f: x}", "routes[0].context", "at most 5 entries"),
        ("    allow: «3", "routes[0].allow: a number", "a text"),
        ("delivery: { timeout: «10 }", "delivery.timeout: a number", duration),
        ("delivery: { concurrency: «0 }", "delivery.concurrency: a number", "a whole number from 1 to 1000"),
        ("delivery: { rate: «60/m }", "delivery.rate: `60/m`", "`auto`, or a rate such as `60/s`"),
        ("delivery: { bulk: «'on' }", "delivery.bulk: `on`", "one of `auto`, `off`"),
        ("delivery: { retry: { longest: «5 } }", "delivery.retry.longest: a number", duration),
        ("delivery: { retry: «5 }", "delivery.retry: a number", "an object"),
        ("retention: «7", "retention: a number", duration),
        ("remember: «forever", "remember: `forever`", duration),
        ("limits: { body: «1MB }", "limits.body: `1MB`", "a size such as `512KiB` or `1MiB`"),
        ("limits: { body: «1GiB }", "limits.body: `1GiB`", "at most `64MiB`"),
        ("limits: { queue: «-1 }", "limits.queue: a number", "a whole number from 1"),
        ("novu: { api_url: «'ftp://x' }", "novu.api_url: a text", "a web address such as `https://api.novu.co`"),
        ("vars: «3", "vars: a number", "an object"),
        ("tests: «3", "tests: a number", "a list"),
    ] {
        check_route(line, &[&[&format!("error bad_value {path}"), "does not belong here", expected]]);
    }
    check("routes: «text\n", &[&["bad_value routes: `text`", "expected a list"]]);
    check("«text\n", &[&["bad_value : `text`", "expected an object"]]);
    check_routes("  - «text", &[&["bad_value routes[0]: `text`", "expected an object"]]);
    check_routes("  - { event: «[], workflow: a }", &[&["bad_value routes[0].event", "a Clerk event type such as"]]);
    check_route("tests: [{ event: «user.crated, expect: [] }]", &[&["test_failed tests[0].event", "`user.created`?"]]);
}

#[test]
fn names_have_to_be_unique_and_known() {
    check_routes(
        "  - { name: a, event: user.created, workflow: w }\n  - { name: «a, event: user.created, workflow: v }",
        &[&["error duplicate_name routes[1].name: two routes are named `a`", "the other is in line 2"]],
    );
    check_route(
        "  - «{ event: user.deleted, workflow: welcome }\n  - { name: «welcome, event: user.deleted, workflow: w }",
        &[
            &["duplicate_name routes[1]", "the name defaults to the workflow, and the other is in line 2"],
            &["duplicate_name routes[2].name", "the other is in line 2"],
        ],
    );
    check_route(
        "    source: «clrk",
        &[&["error unknown_source routes[0].source: there is no source `clrk`", "one of `clerk`", "mean `clerk`?"]],
    );
    check_route(
        "    source: [clerk, «staging]",
        &[&["unknown_source routes[0].source[1]: there is no source `staging`"]],
    );
    check_route(
        "sources: { «a b: { signing_secrets: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw } }",
        &[&["bad_value sources.a b: `a b` cannot be part of an address", "letters, digits, `-` and `_`"]],
    );
}

#[test]
fn secrets_are_judged_and_never_shown() {
    let from = "expected the endpoint's signing secret as Clerk's dashboard shows it, `whsec_…`";
    for (secret, message) in [
        ("whsec_YWJj", "the signing secret has 3 bytes, and at least 16 are safe"),
        ("hunter2!", "the signing secret is not base64"),
        ("whsec_ZGVza2JlbGwgbG9jYWwgc2VjcmV0LCBwdWJsaWM=", "the built-in one of `deskbell dev`"),
    ] {
        let lines = format!("sources: {{ clerk: {{ signing_secrets: [«{secret}] }} }}");
        check_route(&lines, &[&["error bad_value sources.clerk.signing_secrets[0]: ", message, from]]);
    }
    check_route("sources: { clerk: { signing_secrets: «[] } }", &[&["an empty list", "at least one signing secret"]]);
    check_route(
        "novu: { secret_key: «\"sk\\n_live\" }",
        &[&["bad_value novu.secret_key: the secret key is none that Novu gives out; expected a Novu secret key"]],
    );
    check_route("novu: { secret_key: «'' }", &[&["bad_value novu.secret_key"]]);
    // Both sources use it, and it is one mistake.
    check(
        "novu: { secret_key: «3, api_url: «4 }\nsources:\n  a: { signing_secrets: «\"${NOVU_A}\" }\n  b: { signing_secrets: «\"${file:/gone/b}\" }\nvars: { c: [«\"${NOVU_C}\", «\"x${NOVU_D}\"] }\nroutes: []\n",
        &[
            &["error bad_value novu.secret_key: a number"],
            &["error bad_value novu.api_url: a number"],
            &["note unset_variable sources.a.signing_secrets: `${NOVU_A}` is not set"],
            &["note unset_variable sources.b.signing_secrets: `${file:/gone/b}` cannot be read"],
            &["note unset_variable vars.c[0]: `${NOVU_C}` is not set"],
            &["note unset_variable vars.c[1]: `${NOVU_D}` is not set"],
        ],
    );
}

#[test]
fn an_event_type_that_is_not_known_is_a_warning_that_can_be_allowed() {
    check_routes(
        "  - { event: «user.create, workflow: a }",
        &[&["warning unknown_event_type routes[0].event: Clerk sends no event `user.create`", "mean `user.created`?"]],
    );
    check_routes("  - { event: [user.created, «usr.*], workflow: a }", &[&["unknown_event_type routes[0].event[1]"]]);
    check_routes("  - { event: «some.thing, workflow: a }", &[&["`deskbell samples` lists the known ones"]]);
    check_routes("  - { event: user.create, workflow: a, allow: unknown_event_type }", &[]);
    check_routes("  - { event: user.create, workflow: a, allow: [same_delivery, unknown_event_type] }", &[]);
    check_routes("  - { event: «user.create, workflow: a, allow: [same_delivery] }", &[&["unknown_event_type"]]);
    check_routes("  - { event: user.created, workflow: a, allow: unknown_path }", &[]);
    // What cannot run cannot be allowed.
    check_routes(
        "  - { event: user.created, workflow: a, «filer: b, allow: «unknown_key }",
        &[&["error unknown_key"], &["bad_value routes[0].allow: there is no warning `unknown_key`"]],
    );
    check_routes(
        "  - { event: user.created, workflow: a, allow: [unknown_path, «same_deliver] }",
        &[&["error bad_value routes[0].allow[1]: there is no warning `same_deliver`", "did you mean `same_delivery`?"]],
    );
}

#[test]
fn one_mistake_hides_no_other_of_the_same_route() {
    check_routes(
        "  - «{ event: role.created, workflow: w, filter: '$.a«[', priority: «x, max_age: «1, payload: { a: '{{b«', c: «~ } }\n  - «{ event: user.created, workflow: w, filter: «b }",
        &[
            &["no_subscriber routes[0]"],
            &["bad_jsonpath routes[0].filter"],
            &["bad_value routes[0].priority"],
            &["bad_value routes[0].max_age"],
            &["bad_template routes[0].payload.a"],
            &["bad_value routes[0].payload.c"],
            &["duplicate_name routes[1]"],
            &["bad_jsonpath routes[1].filter"],
        ],
    );
}

#[test]
fn twenty_five_mistakes_are_told_in_one_run() {
    let expected: [&[&str]; 25] = [
        &["unknown_key colour"],
        &["bad_value novu.api_url"],
        &["bad_value delivery.timeout"],
        &["bad_value delivery.concurrency"],
        &["bad_value delivery.rate"],
        &["bad_value delivery.bulk"],
        &["unknown_key delivery.retry.frist"],
        &["bad_value retention"],
        &["bad_value limits.body"],
        &["bad_value vars.gone"],
        &["bad_value sources.clerk.signing_secrets[0]"],
        &["unknown_key routes[0].filer"],
        &["bad_jsonpath routes[1].filter"],
        &["yaml_tag routes[2].filter"],
        &["bad_template routes[3].payload.a"],
        &["no_subscriber routes[4]"],
        &["open_workflow routes[5].workflow"],
        &["duplicate_name routes[6]"],
        &["bad_value routes[7].topic"],
        &["missing_key routes[8].subscriber"],
        &["duplicate_key routes[9].max_age"],
        &["unknown_source routes[10].source"],
        &["missing_key routes[11]"],
        &["bad_jsonpath routes[12].each"],
        &["unknown_event_type routes[13].event"],
    ];
    check(
        r#"
«colour: red
novu: { api_url: «ftp://x }
delivery:
  timeout: «10
  concurrency: «0
  rate: «60/m
  bulk: «"on"
  retry: { «frist: 1s }
retention: «7
limits: { body: «1MB }
vars: { gone: «null }
sources: { clerk: { signing_secrets: [«whsec_YWJj] } }
routes:
  - { event: user.created, workflow: a, «filer: $.data.banned }
  - { event: user.created, workflow: b, filter: "«data.banned" }
  - { event: user.created, workflow: c, filter: «!$.data.banned }
  - { event: user.created, workflow: d, payload: { a: "«{{shout data.id}}" } }
  - «{ event: role.created, workflow: e }
  - { event: email.created, workflow: «"{{data.slug}}" }
  - «{ event: user.created, workflow: a }
  - { event: user.created, workflow: f, subscriber: { subscriberId: x }, topic: «t }
  - { event: user.created, workflow: g, subscriber: «{ email: x } }
  - { event: user.created, workflow: h, max_age: 10m, «max_age: 5m }
  - { event: user.created, workflow: i, source: «clrk }
  - «{ workflow: j }
  - { event: user.created, workflow: k, each: «data.list }
  - { event: «user.create, workflow: l }
"#,
        &expected,
    );
}
