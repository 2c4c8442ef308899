use super::view::TOO_MUCH;
use super::*;
use serde_json::json;
use std::borrow::Cow;

fn rendered(text: &str) -> Result<Option<Value>, String> {
    let event = json!({
        "type": "user.created",
        "timestamp": 1_787_660_412_337_i64,
        "data": {
            "id": "user_1", "first_name": "Ada", "last_name": null, "username": "", "age": 36, "admin": false,
            "quote": "say \"hi\" <b>&</b>",
            "public_metadata": {"plan": "pro", "seats": [1, 2.5]},
            "primary_email_address_id": "b",
            "email_addresses": [{"id": "a", "email_address": "first@example.com"}, {"id": "b", "email_address": "main@example.com"}]
        },
        "vars": {"app": "Acme"}
    });
    Template::compile(text).map_err(|error| error.message)?.render(&View::new(&event, Vec::new()))
}

fn check(text: &str, expected: Value) {
    let expected = Some(expected).filter(|value| !value.is_null());
    assert_eq!(rendered(text), Ok(expected), "{text}");
}

#[test]
fn a_single_expression_keeps_its_type() {
    check("{{data.age}}", json!(36));
    check("{{ data.admin }}", json!(false));
    check("{{{data.public_metadata}}}", json!({"plan": "pro", "seats": [1, 2.5]}));
    check("{{primary_email}}", json!("main@example.com"));
    check("{{eq data.age 36}}", json!(true));
    check("{{jsonpath \"$.data.email_addresses[0].id\"}}", json!("a"));
    check("{{jsonpath \"$.data.email_addresses[*].id\"}}", json!(["a", "b"]));
    check("{{data.email_addresses.1.id}}", json!("b"));
}

#[test]
fn a_single_expression_with_nothing_to_say_is_left_out() {
    for text in [
        "{{data.last_name}}",
        "{{data.username}}",
        "{{data.nothing.at.all}}",
        "{{upper data.last_name}}",
        "{{primary_phone}}",
        "{{jsonpath \"$.data.nothing\"}}",
        "{{date data.nothing}}",
    ] {
        check(text, Value::Null);
    }
}

#[test]
fn longer_text_is_text_and_never_escaped() {
    check("Hello {{data.first_name}} {{data.last_name}}!", json!("Hello Ada !"));
    check("{{data.quote}} {{vars.app}}", json!("say \"hi\" <b>&</b> Acme"));
    check("{{data.age}} years", json!("36 years"));
    check("{{#if data.admin}}admin{{else}}{{upper data.first_name}}{{/if}}", json!("ADA"));
    check(" {{data.age}}", json!(" 36"));
}

#[test]
fn helpers_do_what_they_say() {
    check("{{full_name}}", json!("Ada"));
    check("{{default data.username data.last_name \"friend\"}}", json!("friend"));
    check("{{lower \"ABC\"}}", json!("abc"));
    check("{{trim \"  x \"}}", json!("x"));
    check("{{replace data.id \"_\" \"-\"}}", json!("user-1"));
    check("{{date timestamp}}", json!("2026-08-25T12:20:12Z"));
    check("{{date timestamp \"%-d %B %Y, %H:%M\" \"Europe/Berlin\"}}", json!("25 August 2026, 14:20"));
    check("{{date 1787660412}}", json!("2026-08-25T12:20:12Z"));
    check("{{json data.public_metadata}}", json!(r#"{"plan":"pro","seats":[1,2.5]}"#));
    check("{{sha256 \"abc\"}}", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    check("{{upper (default data.username \"x\")}}", json!("X"));
    check("{{#each data.email_addresses}}{{this.id}}{{/each}}", json!("ab"));
}

#[test]
fn half_an_id_is_none() {
    let id = |text: &str| {
        let event = json!({"data": {"id": "org_1", "slug": null}});
        Template::compile(text).map(Template::whole).expect(text).render(&View::new(&event, Vec::new()))
    };
    assert_eq!(id("org-{{data.id}}"), Ok(Some(json!("org-org_1"))));
    assert_eq!(id("{{data.id}}-{{data.slug}}"), Ok(None));
    assert_eq!(id("org-{{data.nothing}}"), Ok(None));
    assert_eq!(id("email-{{replace data.slug \"_\" \"-\"}}"), Ok(None));
    assert_eq!(id("{{data.slug}}"), Ok(None));
    assert_eq!(id("org-{{#if data.slug}}x{{else}}y{{/if}}"), Ok(Some(json!("org-y"))));
}

#[test]
fn what_says_nothing_says_why() {
    let event = json!({"data": {"id": "user_1", "none": null, "empty": "", "list": []}});
    let view = View::new(&event, Vec::new());
    let check = |template: Result<Template, TemplateError>, text: &str, expected: Option<&str>| {
        let template = template.expect(text);
        assert_eq!(template.nothing(&view).as_deref(), expected, "{text}");
        assert_eq!(template.render(&view).map(|value| value.is_none()), Ok(expected.is_some()), "{text}");
    };
    for (text, expected) in [
        ("{{data.id}}", None),
        ("{{data.list}}", None),
        ("{{data.nothing.at.all}}", Some("`data.nothing.at.all` is missing")),
        ("{{{ data.none }}}", Some("`data.none` is null")),
        ("{{data.empty}}", Some("`data.empty` is an empty text")),
        ("{{data.list.[0].id}}", Some("`data.list.[0].id` is missing")),
        ("{{item}}", Some("`item` is missing")),
        ("{{primary_email}}", Some("`{{primary_email}}` gives nothing")),
        ("{{upper (default data.none \"\" 1)}}", None),
        ("{{upper (default data.none \"\")}}", Some("`{{upper (default data.none \"\")}}` gives nothing")),
        ("{{jsonpath \"$.data.x\"}}", Some("`{{jsonpath \"$.data.x\"}}` gives nothing")),
        ("Hello {{data.none}}", None),
    ] {
        check(Template::compile(text), text, expected);
    }
    for (text, expected) in [
        ("org-{{data.id}}", None),
        ("{{data.id}}-{{data.none}}-{{data.nothing}}", Some("`data.none` is null")),
        ("org-{{trim data.empty}}", Some("`{{trim data.empty}}` gives nothing")),
        ("{{data.nothing}}", Some("`data.nothing` is missing")),
    ] {
        check(Template::compile(text).map(Template::whole), text, expected);
    }
}

#[test]
fn what_cannot_work_does_not_compile() {
    for (text, message) in [
        ("{{shout data.id}}", "there is no helper `shout`"),
        ("{{upper (shout data.id)}}", "there is no helper `shout`"),
        ("{{#shout}}x{{/shout}}", "there is no block `shout`"),
        ("{{> header}}", "partials"),
        ("{{log data.id}}", "there is no helper `log`"),
        ("{{data.id", "not a Handlebars template"),
        ("{{jsonpath \"$.a[\"}}", "JSONPath"),
        ("{{jsonpath data.id}}", "in quotes"),
        ("{{date timestamp \"%!\"}}", "date format"),
        ("{{date timestamp \"%Y\" \"Mars/Olympus\"}}", "time zone"),
    ] {
        let error = Template::compile(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {}", error.message);
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{{{{upper {}data.id{}}}}}", "(upper ".repeat(5000), ")".repeat(5000));
    assert!(Template::compile(&deep).is_err());
    let blocks = format!("{}{}", "{{#if a}}".repeat(5000), "{{/if}}".repeat(5000));
    assert!(Template::compile(&blocks).is_err());
}

#[test]
fn no_template_does_more_than_an_event_may_cost() {
    let list: Vec<u32> = (0..2_000).collect();
    let event = json!({"data": {"list": list, "text": "a\"".repeat(1_000)}});
    let view = || View::new(&event, Vec::new());
    let refused = |text: &str, why: &str| {
        let error = Template::compile(text).expect("a template").render(&view()).err();
        assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{error:?}");
    };
    let loops =
        |body: &str| format!("{{{{#each data.list}}}}{{{{#each @root.data.list}}}}{body}{{{{/each}}}}{{{{/each}}}}");
    refused(&loops(""), TOO_MUCH);
    refused(&loops("{{#if this}}{{else}}{{/if}}"), TOO_MUCH);
    refused(&loops("some text"), TOO_MUCH);
    refused("{{#each data.list}}{{json @root.data.list}}{{/each}}", TOO_MUCH);
    refused("x{{#with data}}{{#each list}}{{#each @root.data.list}}{{/each}}{{/each}}{{/with}}", TOO_MUCH);
    refused(
        "{{#if data}}{{#unless data.no}}{{#each data.list}}{{json @root.data}}{{/each}}{{/unless}}{{/if}}",
        TOO_MUCH,
    );
    refused(&format!("{{{{replace data.text \"a\" \"{}\"}}}}", "b".repeat(5_000)), "more than 4194304 bytes");
    refused(&format!("{{{{{}json data{}}}}}", "json (".repeat(14), ")".repeat(14)), "more than 4194304 bytes");

    let rounds = Template::compile("{{#each data.list}}{{this}},{{else}}none{{/each}}").expect("a template");
    let view = view();
    let written = rounds.render(&view).expect("it renders").expect("a value");
    assert!(written.as_str().is_some_and(|text| text.starts_with("0,1,2,") && text.ends_with("1999,")));
    // What many leaves do together counts.
    let error = (0..1_000).find_map(|_| rounds.render(&view).err());
    assert_eq!(error.as_deref(), Some(TOO_MUCH));
    let tree = Tree::Literal("x".repeat(1 << 20).into());
    assert_eq!(tree.render(&view), Err(TOO_MUCH.to_owned()));
}

#[test]
fn a_path_alone_is_looked_up_as_handlebars_would() {
    let event = json!({
        "type": "user.created", "list": [{"id": "a"}], "item": "of the event", "vars": {"app": "of the event"},
        "data": {"id": "user_1", "null": null, "empty": "", "deep": {"er": [1, {"2": "ß\n\""}]}, "number": 1.5},
    });
    let (vars, item) = (json!({"app": "Acme"}), json!({"id": "item_1"}));
    let mut view = View::new(&event, vec![("vars", Cow::Borrowed(&vars)), ("source", Cow::Owned(json!("clerk")))]);
    for with_item in [Some(&item), None] {
        view.set_item(with_item);
        for path in [
            "type",
            "data",
            "data.id",
            "data.id.x",
            "data.null",
            "data.null.x",
            "data.empty",
            "data.deep",
            "data.deep.er",
            "data.deep.er.0",
            "data.deep.er.1.2",
            "data.deep.er.[1].2",
            "data.deep.er.5",
            "data.deep.er.x",
            "data.number",
            "data.[id]",
            "list.0.id",
            "list.id",
            "vars.app",
            "vars",
            "source",
            "source.x",
            "item",
            "item.id",
            "missing",
            "missing.x",
            "this.data.id",
            "@root.data.id",
            "../data.id",
            "data/id",
        ] {
            let looked_up = Template::compile(&format!("{{{{{path}}}}}")).expect(path);
            let rendered = Template { path: None, ..looked_up.clone() };
            assert_eq!(looked_up.render(&view), rendered.render(&view), "{path}");
        }
    }
    assert!(Template::compile("{{data.id}}").is_ok_and(|template| template.path.is_some()));
}
