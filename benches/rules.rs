//! What the pure middle costs for one event: verify, route and render.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use deskbell::clerk;
use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use deskbell::rules::Rules;
use deskbell::units::now;
use deskbell::verify::{Event, LOCAL_SECRET, Received, Secret, verify};
use hyper::HeaderMap;
use hyper::body::Bytes;

fn rules(text: &str) -> Rules {
    Compiled::of(text.as_bytes(), Outside::Optional).rules.expect("rules without errors")
}

fn event(name: &str, changes: &[(&str, serde_json::Value)]) -> Event {
    let mut event = clerk::sample(name).expect(name);
    for (path, value) in changes {
        clerk::set(&mut event, path, value.clone()).expect(path);
    }
    Event::unsigned("clerk", "msg_1", event, now())
}

fn decide(criterion: &mut Criterion) {
    let own = rules(include_str!("../routes.yaml"));
    let welcome = rules("routes: [{ event: user.created, workflow: welcome }]");
    let created = event("user.created", &[]);
    let code = event("email.created", &[("data.delivered_by_clerk", false.into())]);
    criterion.bench_function("decide: user.created, the welcome route", |bencher| {
        bencher.iter(|| black_box(welcome.decide(black_box(&created))));
    });
    criterion.bench_function("decide: user.created, routes.yaml", |bencher| {
        bencher.iter(|| black_box(own.decide(black_box(&created))));
    });
    criterion.bench_function("decide: a login code, routes.yaml", |bencher| {
        bencher.iter(|| black_box(own.decide(black_box(&code))));
    });
}

fn verification(criterion: &mut Criterion) {
    let secret = Secret::parse(LOCAL_SECRET).expect("a secret");
    let body = Bytes::from(event("user.created", &[]).json.to_string());
    let moment = now();
    let timestamp = (moment / 1000).to_string();
    let signature = secret.sign("msg_1", &timestamp, &body);
    let mut headers = HeaderMap::new();
    for (name, value) in [("svix-id", "msg_1"), ("svix-timestamp", &timestamp), ("svix-signature", &signature)] {
        headers.insert(name, value.parse().expect("a header"));
    }
    let (source, secrets): (Arc<str>, _) = ("clerk".into(), [secret]);
    criterion.bench_function("verify and parse: user.created", |bencher| {
        bencher.iter(|| {
            let received = Received { source: "clerk".to_owned(), headers: headers.clone(), body: body.clone() };
            black_box(verify(&source, &secrets, received, moment).expect("an event"))
        });
    });
}

criterion_group!(benches, decide, verification);
criterion_main!(benches);
