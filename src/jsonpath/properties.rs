//! Agreement with another implementation of RFC 9535, on texts and documents made up for it.
//!
//! Left out is where that one leaves the RFC: a negative index alone in brackets, the order of what is neither a
//! number nor a string, `1` and `1.0` inside lists, and white space before `..`.

use super::{Filter, Query, SyntaxError};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use regex::Regex;
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use std::sync::LazyLock;

const DEPTH: u32 = 2;
/// Stands for `$` in a filter, and for `@` in the filter that says the same of the elements of a list.
const EVENT: &str = "#";

static SPACE_BEFORE_DESCENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\s+\.\.").expect("a pattern"));

fn document() -> impl Strategy<Value = Value> {
    let leaf = select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-2),
        json!(0.5),
        json!(""),
        json!("a"),
        json!("ab"),
        json!("é"),
    ]);
    let key = select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    select(texts).prop_map(str::to_owned).boxed()
}

fn literal() -> BoxedStrategy<String> {
    of(&["null", "true", "false", "0", "1", "-2", "1.0", "5e-1", "-0", "''", "'a'", "\"ab\"", "'é'", "'\\u00e9'"])
}

fn pattern(root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let fixed = of(&["'a'", "'a.*'", "'.'", "'[^a]|ab'", "'(a|b)+'", "'\\\\p{L}{2}'", "''", "1"]);
    prop_oneof![5 => fixed, 1 => singular(root)].boxed()
}

fn selector(depth: u32) -> BoxedStrategy<String> {
    let plain =
        of(&["'a'", "\"b\"", "'c'", "'x'", "*", "0", "1", ":", "1:", ":-1", "::2", "::-1", "3:0:-2", "-3:3", "::0"]);
    if depth == 0 {
        return plain;
    }
    let filter = expression(depth - 1, of(&["@", "@", "@", "$"])).prop_map(|test| format!("?{test}"));
    prop_oneof![3 => plain, 2 => filter].boxed()
}

fn segment(depth: u32) -> BoxedStrategy<String> {
    let list = prop::collection::vec(selector(depth), 1..3);
    prop_oneof![
        5 => of(&[".a", ".b", ".c", ".x", "['a']", "[0]", "[1]"]),
        3 => list.clone().prop_map(|list| format!("[{}]", list.join(", "))),
        1 => of(&[".*", "..a", "..*", "[*]", "[-1, -3]", " .a", " [0]"]),
        1 => list.prop_map(|list| format!("..[{}]", list.join(","))),
    ]
    .boxed()
}

fn query(depth: u32, root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let segments = prop::collection::vec(segment(depth), 0..4);
    (root, segments).prop_map(|(root, segments)| root + &segments.concat()).boxed()
}

fn singular(root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let segments = prop::collection::vec(of(&[".a", ".b", "['c']", "[0]", "[1]"]), 0..3);
    (root, segments).prop_map(|(root, segments)| root + &segments.concat()).boxed()
}

fn operand(depth: u32, root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        4 => literal(),
        6 => singular(root.clone()),
        3 => call(depth, root.clone()),
        1 => query(depth, root),
    ]
    .boxed()
}

fn call(depth: u32, root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let value = prop_oneof![1 => literal(), 4 => singular(root.clone())];
    let query = query(depth, root);
    prop_oneof![
        3 => value.clone().prop_map(|value| format!("length({value})")),
        3 => query.clone().prop_map(|query| format!("count({query})")),
        2 => query.clone().prop_map(|query| format!("value( {query} )")),
        2 => query.clone().prop_map(|query| format!("length(value({query}))")),
        1 => query.prop_map(|query| format!("length({query})")),
        1 => value.prop_map(|value| format!("count({value})")),
    ]
    .boxed()
}

fn test(depth: u32, root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let comparison = of(&["==", "!=", " == "]);
    let order = of(&["<", "<=", ">", ">=", " < "]);
    let ordered = of(&["0", "1", "-2", "5e-1", "''", "'a'", "'ab'"]);
    let function = of(&["match", "search"]);
    let subject = prop_oneof![4 => singular(root.clone()), 1 => operand(depth, root.clone())];
    prop_oneof![
        6 => (operand(depth, root.clone()), comparison, operand(depth, root.clone()))
            .prop_map(|(left, comparison, right)| left + &comparison + &right),
        2 => (operand(depth, root.clone()), order.clone(), ordered.clone())
            .prop_map(|(left, order, right)| left + &order + &right),
        2 => (ordered, order, operand(depth, root.clone()))
            .prop_map(|(left, order, right)| left + &order + &right),
        3 => query(depth, root.clone()),
        3 => (function, subject, pattern(root.clone()))
            .prop_map(|(name, subject, pattern)| format!("{name}({subject},{pattern})")),
        1 => call(depth, root),
    ]
    .boxed()
}

fn expression(depth: u32, root: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let test = prop_oneof![
        5 => test(depth, root.clone()),
        1 => test(depth, root.clone()).prop_map(|test| format!("!{test}")),
        1 => test(depth, root.clone()).prop_map(|test| format!("!({test})")),
    ];
    let join = of(&["&&", " && ", "||", " || "]);
    prop_oneof![
        4 => test.clone(),
        1 => (test.clone(), join.clone(), test.clone())
            .prop_map(|(left, join, right)| left + &join + &right),
        1 => (test.clone(), join.clone(), test.clone(), join, test)
            .prop_map(|(a, first, b, second, c)| format!("{a}{first}({b}{second}{c})")),
    ]
    .boxed()
}

/// A text with a few of its characters left out, doubled or replaced.
fn damaged(text: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let piece = of(&[
        "", "", " ", "'", "\"", "(", ")", "[", "]", "?", "@", "$", "!", "=", "==", "&", "|", ",", ":", ".", "..", "*",
        "-", "1", "e5", "a", "\\", "in ", "and", "true", "length(", "é", "\u{a0}", "\n",
    ]);
    let damage = (any::<Index>(), any::<bool>(), piece);
    (text, prop::collection::vec(damage, 1..4)).prop_map(|(text, damages)| {
        let mut characters: Vec<String> = text.chars().map(String::from).collect();
        for (at, replaces, piece) in damages {
            let at = at.index(characters.len());
            if replaces {
                characters[at] = piece;
            } else {
                characters[at].push_str(&piece);
            }
        }
        characters.concat()
    })
}

fn is_too_deep(refusal: &SyntaxError) -> bool {
    refusal.message == "nested too deep"
}

/// That a text is refused within itself, or works.
fn is_sound(text: &str, document: &Value) -> bool {
    let refusals = [
        Query::compile(text).map(|query| drop(query.select(document))),
        Filter::compile(text).map(|filter| drop((filter.holds(document), filter.seen(document)))),
    ];
    let mut refusals = refusals.into_iter().filter_map(Result::err);
    refusals.all(|refusal| text.is_char_boundary(refusal.offset))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn queries_select_what_another_implementation_selects(
        text in query(DEPTH, of(&["$"])),
        documents in prop::collection::vec(document(), 4),
    ) {
        let (ours, theirs) = (Query::compile(&text), JsonPath::parse(&text));
        prop_assume!(!ours.as_ref().is_err_and(is_too_deep));
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?}", text, ours.err());
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            for document in &documents {
                prop_assert_eq!(ours.select(document), theirs.query(document).all(), "{} {}", text, document);
            }
        }
    }

    #[test]
    fn filters_hold_where_another_implementation_keeps_the_event(
        text in expression(DEPTH, of(&[EVENT])),
        documents in prop::collection::vec(document(), 4),
    ) {
        let nested = text.replace('$', "$[0]").replace(EVENT, "@");
        let ours = Filter::compile(&text.replace(EVENT, "$"));
        let theirs = JsonPath::parse(&format!("$[?{nested}]"));
        prop_assume!(!ours.as_ref().is_err_and(is_too_deep));
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?}", text, ours.err());
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            for document in documents {
                let kept = !theirs.query(&json!([document])).is_empty();
                prop_assert_eq!(ours.holds(&document), kept, "{} {}", text, document);
            }
        }
    }

    #[test]
    fn damaged_texts_compile_only_where_another_implementation_takes_them(
        query in damaged(query(DEPTH, of(&["$"]))),
        filter in damaged(expression(DEPTH, of(&["$"]))),
    ) {
        let takes = |text: &str| JsonPath::parse(&SPACE_BEFORE_DESCENT.replace_all(text, "..")).is_ok();
        prop_assert!(Query::compile(&query).is_err() || takes(&query), "{}", query);
        prop_assert!(Filter::compile(&filter).is_err() || takes(&format!("$[?{filter}]")), "{}", filter);
    }

    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![
            any::<String>(),
            "[$@.()\\[\\]?!&|=<>'\"*, a-z0-9\\\\-]{0,40}",
            damaged(expression(DEPTH, of(&["$", "@"]))),
        ],
        document in document(),
    ) {
        prop_assert!(is_sound(&text, &document), "{}", text);
    }
}
