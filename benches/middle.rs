//! What one event costs in the gateway, step by step, without the network: verify, route, render, keep.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use deskbell::clerk;
use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use deskbell::rules::Rules;
use deskbell::store::{Receipt, Store};
use deskbell::units::now;
use deskbell::verify::{Event, Received, Secret, verify};
use hyper::HeaderMap;
use hyper::body::Bytes;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use webhook::{SECRET, USUAL, Webhooks};

#[allow(dead_code)]
#[path = "gateway/webhook.rs"]
mod webhook;

const SOURCE: &str = "clerk";
const WELCOME: &str = "routes: [{ event: user.created, workflow: welcome }]";
/// Webhooks that come at the same time share a transaction.
const AT_ONCE: usize = 16;
const NO_LIMIT: u64 = 1 << 40;

fn rules(text: &str) -> Rules {
    Compiled::of(text.as_bytes(), Outside::Optional).rules.expect("rules without errors")
}

fn event(name: &str, changes: &[(&str, serde_json::Value)]) -> Event {
    let mut event = clerk::sample(name).expect(name);
    for (path, value) in changes {
        clerk::set(&mut event, path, value.clone()).expect(path);
    }
    Event::unsigned(SOURCE, "msg_1", event, now())
}

/// A webhook as it comes, signed.
fn received(secret: &Secret, webhooks: &mut Webhooks) -> Received {
    let (id, body) = webhooks.unsigned();
    let timestamp = (now() / 1000).to_string();
    let signature = secret.sign(&id, &timestamp, &body);
    let mut headers = HeaderMap::new();
    for (name, value) in [("svix-id", &id), ("svix-timestamp", &timestamp), ("svix-signature", &signature)] {
        headers.insert(name, value.parse().expect("a header"));
    }
    Received { source: SOURCE.to_owned(), headers, body: Bytes::from(body) }
}

fn verification(criterion: &mut Criterion) {
    let (source, secrets): (Arc<str>, _) = (SOURCE.into(), [Secret::parse(SECRET).expect("a secret")]);
    let Received { headers, body, .. } = received(&secrets[0], &mut Webhooks::new(USUAL));
    let moment = now();
    criterion.bench_function("verify and parse: user.created", |bencher| {
        bencher.iter(|| {
            let received = Received { source: SOURCE.to_owned(), headers: headers.clone(), body: body.clone() };
            black_box(verify(&source, &secrets, received, moment).expect("an event"))
        });
    });
}

fn decision(criterion: &mut Criterion) {
    let (own, welcome) = (rules(include_str!("../routes.yaml")), rules(WELCOME));
    let created = event("user.created", &[]);
    let code = event("email.created", &[("data.delivered_by_clerk", false.into())]);
    for (name, rules, event) in [
        ("decide: user.created, the welcome route", &welcome, &created),
        ("decide: user.created, routes.yaml", &own, &created),
        ("decide: a login code, routes.yaml", &own, &code),
    ] {
        criterion.bench_function(name, |bencher| bencher.iter(|| black_box(rules.decide(black_box(event)))));
    }
}

/// All of it, on a real disk, with as many as come at once.
fn keeping(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let address = format!("sqlite:{}", folder.path().join("deskbell.db").display());
    let store = Store::open(&address, now(), 0).expect("a store");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (source, secrets): (Arc<str>, _) = (SOURCE.into(), [Secret::parse(SECRET).expect("a secret")]);
    let (rules, mut webhooks) = (rules(WELCOME), Webhooks::new(USUAL));
    let mut come = || -> Vec<Received> { (0..AT_ONCE).map(|_| received(&secrets[0], &mut webhooks)).collect() };
    let keep = |all: Vec<Received>| {
        runtime.block_on(async {
            let mut keeping = JoinSet::new();
            for received in all {
                let event = verify(&source, &secrets, received, now()).expect("an event");
                let (decision, store) = (rules.decide(&event), store.clone());
                keeping.spawn(async move { store.accept(&event, &decision, NO_LIMIT).await });
            }
            assert!(keeping.join_all().await.iter().all(|kept| *kept == Ok(Receipt::Accepted)));
        });
    };
    let mut group = criterion.benchmark_group("verify, decide and keep");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function("user.created, 16 at once", |bencher| {
        bencher.iter_batched(&mut come, keep, BatchSize::PerIteration)
    });
    group.finish();
}

criterion_group!(benches, verification, decision, keeping);
criterion_main!(benches);
