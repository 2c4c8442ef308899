use super::{Filter, Query, SyntaxError};
use serde_json::{Value, json};

fn event() -> Value {
    json!({
        "type": "email.created",
        "timestamp": 1_654_012_591_835_u64,
        "data": {
            "slug": "verification_code",
            "delivered_by_clerk": false,
            "user_id": null,
            "name": "Žoë😀",
            "big": 9_007_199_254_740_993_u64,
            "emails": [
                {"address": "a@example.com", "verified": true},
                {"address": "b@example.com", "verified": false},
            ],
        },
    })
}

fn holds(filter: &str, event: &Value) -> bool {
    Filter::compile(filter).expect(filter).holds(event)
}

fn selected(query: &str, document: &Value) -> Value {
    let query = Query::compile(query).expect(query);
    query.select(document).into_iter().cloned().collect()
}

fn refused(filter: &str) -> SyntaxError {
    Filter::compile(filter).expect_err(filter)
}

#[test]
fn filters_hold() {
    for filter in [
        "$.data.delivered_by_clerk == false && $.data.slug == 'verification_code'",
        "$",
        "$.data.emails[?@.verified == true]",
        "$.data.emails[?@.verified==true].address",
        "\n  ( $.data.slug=='x' || $.type == \"email.created\" )\n",
        "!$.data.banned",
        "!($.data.slug == 'x')",
        "'verification_code' == $.data.slug",
        "match($.data.slug, '[a-z_]+')",
        "!match($.data.slug, 'code')",
        "search($.data.slug, 'code')",
        "search($.data.slug, 'code$') && search($.data.slug, '^ver')",
        "match($.data.name, '\\\\p{Lu}..😀')",
        "length($.data.name) == 4",
        "length($.data.emails) == 2 && length($.data) > 5",
        "count($.data.emails[?@.verified == false]) == 1",
        "value($.data.emails[?@.verified == true].address) == 'a@example.com'",
        "$.data.user_id",
        "$.data.user_id == null",
        "$.data.missing != null",
        "$.data.missing == $.data.other",
        "$.data.missing <= $.data.other",
        "$.data.user_id <= null",
        "$.timestamp > 1.65e12",
        "$['data']['slug'] < 'verification_codf'",
        "length($.data.missing) != 0",
        "$.data.emails[-1].verified == false",
        "$.data.emails[?@.address == $.data.emails[1].address && @.verified == false]",
    ] {
        assert!(holds(filter, &event()), "{filter}");
    }
}

#[test]
fn filters_do_not_hold() {
    for filter in [
        "$.data.missing",
        "$.data.missing == null",
        "$.data.delivered_by_clerk == 'false'",
        "$.data.delivered_by_clerk == 0",
        "$.data.delivered_by_clerk < true",
        "$.timestamp == '1654012591835'",
        "$.timestamp < 'a' || $.timestamp >= 'a'",
        "$.data.emails < 3",
        "$.data.big == 9007199254740991",
        "$.data.big <= 9.007199254740992e15",
        "length($.data.user_id) >= 0",
        "value($.data.emails[*]) == value($.data.emails)",
        "match($.data.user_id, '.*')",
        "match($.data.slug, 1)",
        "match($.data.slug, $.data.name)",
        "$.data.emails[?@.address == 'a@example.com' && @.verified == false]",
    ] {
        assert!(!holds(filter, &event()), "{filter}");
    }
}

#[test]
fn queries_select_in_order() {
    let document = json!({
        "a": [0, 1, 2, 3],
        "b": {"a": {"d": 1, "a": 2}, "d": 3},
        "c": [[1, 2], [3, [4]], {"x": [5]}],
    });
    for (query, expected) in [
        ("$.a[1:3]", json!([1, 2])),
        ("$.a[::-2]", json!([3, 1])),
        ("$.a[5:0:-1]", json!([3, 2, 1])),
        ("$.a[-9:-2]", json!([0, 1])),
        ("$.a[::0]", json!([])),
        ("$.a[3, 0, 0, -1, 9]", json!([3, 0, 0, 3])),
        ("$.b..['a','d']", json!([{"d": 1, "a": 2}, 3, 2, 1])),
        ("$.c..[0]", json!([[1, 2], 1, 3, 4, 5])),
        ("$.c[?@[?@ > 1]]", json!([[1, 2], [3, [4]]])),
        ("$.c.*.x[*]", json!([5])),
        ("$.a[?@ >= 1 && @ != 2]", json!([1, 3])),
        ("$['b']['\\u0061'].d", json!([1])),
        ("$.a.b", json!([])),
        ("$.b[0]", json!([])),
    ] {
        assert_eq!(selected(query, &document), expected, "{query}");
    }
}

#[test]
fn values_compare_by_value_and_exactly() {
    let event = json!({
        "one": 1, "float": 1.0, "list": [1, {"x": 2}], "floats": [1.0, {"x": 2.0}],
        "large": u64::MAX, "next": u64::MAX - 1, "rounded": 18_446_744_073_709_551_615.0,
        "low": i64::MIN, "half": -0.5, "zero": -0.0, "ffff": "\u{ffff}", "face": "😀",
    });
    for filter in [
        "$.one == $.float && $.list == $.floats && $.one <= $.float && $.one >= $.float",
        "$.large != $.next && $.next < $.large",
        "$.large < $.rounded && $.rounded > $.large && $.large != $.rounded",
        "$.low < $.half && $.half < 0 && $.half > -1 && $.zero == 0 && -0 == $.zero",
        "$.ffff < $.face",
        "!($.list < $.floats) && !($.list == $.one)",
    ] {
        assert!(holds(filter, &event), "{filter}");
    }
}

#[test]
fn patterns_are_those_of_i_regexp() {
    for (pattern, text, whole, part) in [
        ("a.c", "abc", true, true),
        ("a.c", "a\nc", false, false),
        ("a.c", "a\u{2028}c", true, true),
        ("a|b", "xb", false, true),
        ("(ab){2,}c?", "ababc", true, true),
        ("[a&&b]+", "a&b", true, true),
        ("[^~~-]", "~", false, false),
        ("[-a\\\\]]+", "-]a", true, true),
        ("[a-]", "-", true, true),
        ("a||b", "", true, true),
        ("\\\\P{Ll}\\\\.", "A.", true, true),
    ] {
        let event = json!({"text": text});
        let matches = format!("match($.text, '{pattern}')");
        let finds = format!("search($.text, '{pattern}')");
        assert_eq!(holds(&matches, &event), whole, "{matches} {text}");
        assert_eq!(holds(&finds, &event), part, "{finds} {text}");
        let event = json!({"text": text, "pattern": pattern.replace("\\\\", "\\")});
        assert_eq!(holds("match($.text, $.pattern)", &event), whole, "{pattern}");
    }
    for pattern in [
        "a**",
        "a*?",
        "(?:a)",
        "(?i)a",
        "\\\\d",
        "[\\\\d]",
        "\\\\b",
        "[[:alpha:]]",
        "[a",
        "(a",
        "a)",
        "{1}",
        "a{,2}",
        "]",
        "[]",
        "[b-a]",
        "[a-b-c]",
        "\\\\p{Latin}",
        "\\\\pL",
        "\\\\",
        "a{2}{3}",
        "a{2,1}",
        "(a{500}){500}",
    ] {
        let refusal = refused(&format!("match($.text, '{pattern}')"));
        assert!(refusal.message.starts_with("in the pattern of `match`: "), "{refusal:?}");
    }
    let event = json!({"text": "a", "patterns": ["a*?", "(", "(a{500}){500}", "a".repeat(2000)]});
    assert!(!holds("$.patterns[?match($.text, @)]", &event));
}

#[test]
fn only_the_rfc_compiles() {
    for filter in [
        "",
        " ",
        "true",
        "'a'",
        "$.a == 1 == 2",
        "$.a b",
        "$.a. b",
        "$. a == 1",
        "$.. a",
        "$.a.0",
        "$a",
        "a",
        "$.a[",
        "$.a]",
        "$.a[]",
        "$.a[?]",
        "$.a[0 1]",
        "$.a[01]",
        "$.a[-0]",
        "$.a[9007199254740992]",
        "$.a == 01",
        "$.a == 1 .5",
        "$.a == - 1",
        "$.a == .5",
        "$.a == 1.",
        "$.a == +1",
        "$.a == 1e",
        "$.a == 1e999",
        "$.a == 1 e5",
        "$.a == 'x",
        "$.a == '\\x'",
        "$.a == '\\ud800'",
        "$.a == 'a\tb'",
        "$.a == [1]",
        "$.a == {}",
        "$.a == True",
        "$.a in ['a']",
        "$.a anyOf ['x']",
        "$.a nin ['x']",
        "in($.a, $.b)",
        "nin($.a, $.b)",
        "none_of($.a, $.b)",
        "any_of($.a, $.b)",
        "subset_of($.a, $.b)",
        "length ($.a) == 1",
        "length($.a)",
        "count($..*)",
        "value($.a)",
        "!length($.a)",
        "length($.*) == 1",
        "length($..a) == 1",
        "length($['a','b']) == 1",
        "length(match($.a, 'a')) == 1",
        "length(($.a)) == 1",
        "length(!$.a) == 1",
        "length() == 1",
        "length($.a, $.b) == 1",
        "count(1) == 1",
        "count('a') == 1",
        "count(length($.a)) == 1",
        "count(($.a)) == 1",
        "value(1) == 1",
        "match($.a)",
        "match($.a, 'a') == true",
        "true == search($.a, 'a')",
        "match($.*, 'a')",
        "match($.a, $.*)",
        "search($.a, search($.b, 'a'))",
        "$.* == 1",
        "1 == $..a",
        "$.a[0:1] == 1",
        "$.a['b','c'] == 1",
        "$.a[?@.b] == 1",
        "$[ 'a' ] == 1",
        "$[0 ] == 1",
        "!$.a == 1",
        "!!$.a",
        "!(!!$.a)",
        "$.a & $.b",
        "$.a | $.b",
        "$.a && || $.b",
        "$.a &&",
        "&& $.a",
        "($.a",
        "$.a)",
        "$.a + 1 == 2",
        "$.a # b",
        "$.a; $.b",
        "$.a\u{a0}== 1",
        "$.a\u{3000}",
        "$.\u{a0}a",
        "@",
        "@.a == 1",
        "length(@.a) == 1",
        "$.a == @.b",
        "$.a && (@.b)",
        "$[@.a]",
        "true] , $[?@",
        "@.a)] || $[?(@.b",
        "$.a] || $[?$.b",
        "$.a][?$.b",
        "$.a, $.b",
        "$.a,?$.b",
        "$.a],[?$.b",
        "$.a /* x */",
    ] {
        let refusal = refused(filter);
        assert!(filter.is_char_boundary(refusal.offset), "{filter} {refusal:?}");
        assert!(!refusal.message.ends_with('.') && !refusal.message.contains('\n'), "{filter} {refusal:?}");
    }
    for query in ["", "a", " $", "$ ", "$.a\n", "$.a == 1", "!$.a", "($.a)", "@.a", "$.a || $.b", "$[?@.a], $"] {
        assert!(Query::compile(query).is_err(), "{query}");
    }
}

#[test]
fn refusals_say_where_and_what_to_write_instead() {
    for (filter, offset, advice) in [
        ("$.data.slug = 'x'", 12, "write `==`"),
        ("$.data.slug === 'x'", 12, "write `==`"),
        ("$.data.slug =~ 'x'", 12, "write `search($.data.name, 'part')`"),
        ("$.data.slug contains 'x'", 12, "write `search($.data.name, 'part')`"),
        ("$.a & $.b", 4, "write `&&`"),
        ("$.a AND $.b", 4, "write `&&`"),
        ("$.list[?@.a or @.b]", 12, "write `||`"),
        ("not $.a", 0, "write `!`"),
        ("$.b && !!$.a", 7, "alone"),
        ("data.slug == 'x'", 0, "write `$.data.slug`"),
        ("$.data.slug == verification_code", 15, "write `'verification_code'`"),
        ("$.data.slug == ‘x’", 15, "write `'x'`"),
        ("$.data.slug in ['a', -1]", 12, "write `$.data.slug == 'a' || $.data.slug == -1`"),
        ("$.data.slug nin ('a')", 12, "write `$.data.slug != 'a'`"),
        ("any_of($.a, $.b)", 0, "write `$.data.slug == 'a' || $.data.slug == 'b'`"),
        ("$.a == None", 7, "write `null`"),
        ("$.a == FALSE", 7, "write `false`"),
        ("@.a == 1", 0, "write `$` for the event"),
        ("!$.a == 1", 0, "write `!($.a == …)`"),
        ("$.list[*].a == 1", 0, "$.data.list[?@.name == 'x']"),
        ("$.list.length() > 1", 7, "write functions as in `length($.list)`"),
        ("$.first-name == 'x'", 7, "['first-…']"),
        ("$.a == 'it\\'s' && $.b.0", 22, "write `['0']`, or `[0]`"),
        ("length($.a.*) > 1", 0, "write `count($.a.*)`"),
        ("$.a && length($.b)", 7, "compare it"),
        ("match($.a, 'x') == true", 0, "!match(…)"),
        ("match($.a, '\\\\d+')", 0, "write `[0-9]`"),
        ("$.a == '\\d'", 8, "write a backslash as `\\\\`"),
    ] {
        let refusal = refused(filter);
        assert_eq!(refusal.offset, offset, "{filter} {refusal:?}");
        assert!(refusal.hint.as_ref().is_some_and(|hint| hint.contains(advice)), "{filter} {refusal:?}");
    }
    for (filter, offset, expected) in [
        ("", 0, "a query such as `$.data.id`, a value, or a function"),
        ("$.a ==", 6, "a query such as `$.data.id`, a value, or a function"),
        ("$.a == 1 2", 9, "`&&`, `||`, or a comparison such as `==`"),
        ("($.a == 1", 0, "`)`"),
        ("$.a == 'x", 7, "`'`"),
        ("foo($.a)", 0, "`length`, `count`, `match`, `search` or `value`"),
        ("$.a == 9007199254740992", 7, "at most `9007199254740991`"),
    ] {
        let refusal = refused(filter);
        assert_eq!((refusal.offset, refusal.expected.as_deref()), (offset, Some(expected)), "{filter}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let calls = |count| format!("{}$.a{} == 1", "length(".repeat(count), ")".repeat(count));
    let nested = |open: &str, close: &str, count| format!("$.a{}{}", open.repeat(count), close.repeat(count));
    let path = |count| format!("$.{}", "é".repeat(count));
    for (fits, exceeds) in [
        (calls(4), calls(5)),
        (nested("[?@", "]", 32), nested("[?@", "]", 33)),
        (nested("[?!(@", ")]", 16), nested("[?!(@", ")]", 17)),
        (path(2047), path(2048)),
    ] {
        assert!(Filter::compile(&fits).is_ok(), "{fits}");
        let refusal = refused(&exceeds);
        assert!(exceeds.is_char_boundary(refusal.offset), "{refusal:?}");
    }
    refused(&"length(".repeat(500));
    refused(&"(".repeat(4096));
}

#[test]
fn an_evaluation_that_takes_too_many_steps_ends() {
    let numbers: Vec<u32> = (0..20_000).collect();
    let event = json!({"a": numbers, "text": "x".repeat(1 << 20), "pattern": "x+y"});
    for filter in [
        "$..[?count($..*) > 1]",
        "!$..[?count($..*) > 1]",
        "$.a[?$.a != $.a] || $.text",
        "$.a[?search($.text, 'x+y')] || $.text",
        "$.a[?search($.text, $.pattern)] || $.text",
    ] {
        assert!(!holds(filter, &event), "{filter}");
    }
    assert!(holds("$.a[?@ == 19999]", &event));
    let everything = Query::compile("$['a','a','a','a','a','a'][*]").expect("a query");
    assert!(everything.select(&event).len() < 100_000);
}

#[test]
fn seen_lists_the_queries_of_the_first_part_that_does_not_hold() {
    let event = event();
    let seen = |filter: &str| -> Vec<(String, Value)> {
        let filter = Filter::compile(filter).expect(filter);
        let seen = filter.seen(&event).into_iter();
        seen.map(|seen| (seen.query.text().to_owned(), seen.nodes.into_iter().cloned().collect())).collect()
    };
    let pair = |query: &str, nodes: Value| (query.to_owned(), nodes);
    let slug = pair("$.data.slug", json!(["verification_code"]));
    let kind = pair("$['type']", json!(["email.created"]));
    assert_eq!(
        seen("$.data.slug == 'verification_code' && ($['type'] == 'x' || $.data.slug != $['type'])"),
        [slug.clone(), kind.clone()]
    );
    assert_eq!(seen("$['type'] && $.data.slug == 'x' && $.data.user_id"), std::slice::from_ref(&slug));
    assert_eq!(seen("!match($.data.slug, $['type'])"), [slug, kind]);
    assert_eq!(
        seen("count($.data.emails[?@.verified == $.no].address) == 1 && $.data.slug"),
        [pair("$.data.emails[?@.verified == $.no].address", json!([]))]
    );
    assert_eq!(
        seen("length(value($.data..address)) > 2"),
        [pair("$.data..address", json!(["a@example.com", "b@example.com"]))]
    );
    assert_eq!(seen("$.data.user_id"), [pair("$.data.user_id", json!([null]))]);
    assert_eq!(Filter::compile(" $.a ").expect("a filter").text(), " $.a ");
}

#[test]
fn a_large_pattern_is_more_work_than_many_queries() {
    let work = |filter: &str| Filter::compile(filter).expect(filter).work();
    assert_eq!(work("$.a"), 2);
    assert_eq!(work("$.a == $.b"), 3);
    assert_eq!(work("match($.a, '[a-z]{2,5}@acme[.]com')"), 6);
    assert_eq!(work(r"match($.a, '\\p{L}+')"), 102);
    let query = Query::compile(r"$.a[?search(@, '\\p{L}+')]").expect("a query");
    assert_eq!(query.work(), 103);
}
