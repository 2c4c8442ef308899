//! How large the file is.

use serde_json::json;

use crate::harness::{Client, Place, WELCOME, eventually, sample, sample_with};
use crate::novu::Novu;
use crate::retention::{ADDRESS, TWO_ROUTES, lost, place};

#[test]
fn what_is_erased_makes_room_for_what_comes() {
    const ROUND: usize = 200;
    let novu = Novu::start();
    let place = place(&novu, TWO_ROUTES, "retention: 100ms");
    let gateway = place.start();
    let mut pages = Vec::new();
    for round in 0..6 {
        let mut client = Client::new(gateway.webhooks).expect("a connection");
        for number in 0..ROUND {
            let answer = client.send(&format!("msg_{round}_{number}"), &sample("user.created")).expect("an answer");
            assert_eq!(answer.outcome(), "accepted");
        }
        let count = |sql: &str| place.store.number(sql) as usize;
        eventually("nothing but identities", || (count("SELECT count(*) FROM events") == 0).then_some(()));
        assert_eq!(count("SELECT count(*) FROM deliveries"), 0);
        assert_eq!(count("SELECT count(*) FROM remembered"), (round + 1) * ROUND);
        pages.push(count("PRAGMA page_count"));
    }
    // Four rounds kept would be more than four times `ROUND` pages; two rounds may differ by what of
    // them was there at once, which is a round of pages at most.
    let (first, last) = (pages[1], pages[5]);
    assert!(last.saturating_sub(first) < ROUND * 2, "{pages:?}");
}

#[test]
fn bodies_take_half_their_size_on_disk() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let metadata = json!((0..100).map(|number| json!({"document": number, "seen": false})).collect::<Vec<_>>());
    let body = sample_with("user.created", &[("data.public_metadata", json!({"documents": metadata}))]);
    for number in 0..100 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &body).outcome(), "accepted");
    }
    gateway.drain();
    assert_eq!(lost(&gateway, "msg_0"), "", "it is explained from what is kept");
    assert_eq!(gateway.stop(), Some(0));
    assert!(place.store.holds(ADDRESS), "the address is looked for as it is kept");
    let kept = std::fs::metadata(place.path("deskbell.db")).expect("the store").len();
    // With all else that is kept of them.
    assert!(kept < body.len() as u64 * 80, "{kept} bytes for 100 bodies of {}", body.len());
}
