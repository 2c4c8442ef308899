//! What ten thousand routes cost. The last lines say plainly how that compares with what is promised.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use deskbell::clerk;
use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use deskbell::rules::Rules;
use deskbell::units::now;
use deskbell::verify::Event;

const ROUTES: usize = 10_000;
const TYPE: &str = "user.created";

/// A filter that does not hold; `N` is different in each route.
const FILTERS: [(&str, &str); 4] = [
    ("a comparison", "$.data.public_metadata.plan == 'N'"),
    ("two that must hold", "$.data.banned == false && $.data.public_metadata.plan == 'N'"),
    ("a query with a filter", "$.data.email_addresses[?@.email_address == 'N']"),
    ("a pattern", "match($.data.id, 'N[0-9]+')"),
];

/// A file with a route for each of these types.
fn file<'a>(types: impl Iterator<Item = &'a str>, filter: &str) -> String {
    let route = |(number, kind): (usize, &str)| {
        let filter = filter.replace('N', &number.to_string());
        format!(
            "  - {{ name: r{number}, event: {kind}, workflow: w{number}, filter: \"{filter}\", \
             subscriber: {{ subscriberId: \"{{{{data.id}}}}\" }}, payload: {{ name: \"{{{{full_name}}}}\" }} }}\n"
        )
    };
    format!("routes:\n{}", types.enumerate().map(route).collect::<String>())
}

fn rules(text: &str) -> Rules {
    Compiled::of(text.as_bytes(), Outside::Optional).rules.expect("rules without errors")
}

/// What it takes at best: of several runs in turn, so that whatever else the machine does hits them alike.
fn fastest<const N: usize>(event: &Event, rules: [&Rules; N]) -> [Duration; N] {
    let mut fastest = [Duration::MAX; N];
    for _ in 0..200 {
        for (rules, fastest) in rules.iter().zip(&mut fastest) {
            let started = Instant::now();
            black_box(rules.decide(black_box(event)));
            *fastest = started.elapsed().min(*fastest);
        }
    }
    fastest
}

fn promise(what: &str, figure: String, limit: &str, kept: bool) {
    println!("{what:<58} {figure:>12}  ({limit}: {})", if kept { "kept" } else { "NOT KEPT" });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let event = Event::unsigned("clerk", "msg_1", clerk::sample(TYPE).expect("a sample"), now());
    let types: Vec<&str> = clerk::event_types().collect();
    let of_all_types = || types.iter().copied().cycle().take(ROUTES);

    let text = file(of_all_types(), FILTERS[0].1);
    let all = rules(&text);
    let own = rules(&file(of_all_types().filter(|kind| *kind == TYPE), FILTERS[0].1));
    criterion.bench_function("10 000 routes over all types: one event", |bencher| {
        bencher.iter(|| black_box(all.decide(black_box(&event))));
    });
    criterion.bench_function("only those of its type: one event", |bencher| {
        bencher.iter(|| black_box(own.decide(black_box(&event))));
    });
    let same = FILTERS.map(|(what, filter)| (what, rules(&file(std::iter::repeat_n(TYPE, ROUTES), filter))));
    for (what, rules) in &same {
        criterion.bench_function(&format!("10 000 routes of one type: {what}"), |bencher| {
            bencher.iter(|| black_box(rules.decide(black_box(&event))));
        });
    }
    criterion.final_summary();

    println!();
    let [among_all, alone] = fastest(&event, [&all, &own]);
    let ratio = among_all.as_secs_f64() / alone.as_secs_f64();
    promise("routes of other types make an event slower by", format!("{ratio:.2} times"), "at most 1.2", ratio <= 1.2);
    for (what, rules) in &same {
        let each = fastest(&event, [rules])[0] / ROUTES as u32;
        let what = format!("a route whose filter says no: {what}");
        promise(&what, format!("{} ns", each.as_nanos()), "under 1000", each < Duration::from_micros(1));
    }
    let started = Instant::now();
    black_box(rules(&text));
    let took = started.elapsed();
    promise("compiling 10 000 routes", format!("{} ms", took.as_millis()), "under 1000", took < Duration::from_secs(1));
}
