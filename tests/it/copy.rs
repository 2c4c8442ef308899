//! `deskbell store copy`: what one machine has kept goes on in a database that gateways share.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::events::ask;
use crate::harness::{Ending, Gateway, Place, WELCOME, deskbell, eventually, sample};
use crate::novu::{Behaviour, Novu};
use crate::server::Server;
use crate::shell::{Ran, run_with};
use crate::terminal::at_a_terminal;

/// The address of a fresh database.
fn database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let server = SERVER.get_or_init(Server::start);
    let name = format!("copy_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    server.create(&name);
    server.url(&name)
}

/// What a statement gives, as text; an empty one for NULL.
fn rows(url: &str, sql: &str) -> Vec<Vec<String>> {
    let messages = Runtime::new().expect("a runtime").block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
        tokio::spawn(connection);
        client.simple_query(sql).await
    });
    let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|place| row.get(place).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        })
        .collect()
}

fn row(url: &str, sql: &str) -> Vec<String> {
    rows(url, sql).remove(0)
}

/// The same of the file.
fn rows_of_file(place: &Place, sql: &str) -> Vec<Vec<String>> {
    let connection = Connection::open(place.path("deskbell.db")).expect("a file");
    let mut statement = connection.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let text = |cell| match cell {
            Cell::Null => String::new(),
            Cell::Integer(number) => number.to_string(),
            Cell::Real(number) => number.to_string(),
            Cell::Text(text) => text,
            Cell::Blob(_) => panic!("ask for its hex"),
        };
        (0..columns).map(|place| row.get(place).map(text)).collect()
    });
    rows.expect(sql).collect::<Result<_, _>>().expect(sql)
}

fn change_file(place: &Place, sql: &str) {
    Connection::open(place.path("deskbell.db")).expect("a file").execute_batch(sql).expect(sql);
}

fn copy(place: &Place, arguments: &str) -> Ran {
    run_with(&format!("store copy {arguments}"), |command| {
        command.current_dir(place.folder.path());
    })
}

fn copy_to(place: &Place, url: &str) -> String {
    copy(place, &format!("sqlite:deskbell.db {url} --unknown 100ms")).fine().stdout
}

/// What is told, without the time that it took.
fn told(said: &str) -> Vec<&str> {
    said.lines().map(|line| line.split(" in ").next().unwrap_or_default()).collect()
}

fn start_on(place: &Place, url: &str) -> Gateway {
    place.start_with(|command| {
        command.env("DESKBELL_STORE", url);
    })
}

fn waiting(gateway: &Gateway, state: &str) -> Option<f64> {
    gateway.metric(&format!("deskbell_queue_deliveries{{state=\"{state}\"}}"))
}

const COUNTS: &str = "SELECT new, retrying, sending, dead FROM deskbell.replicas WHERE id = 0";

/// A route for each thing that can become of a delivery.
const ROUTES: &str = "
  - { event: user.created, workflow: welcome }
  - { event: user.updated, workflow: paused }
  - { event: user.deleted, workflow: refused }
  - { event: session.created, workflow: failing }
  - { event: session.ended, workflow: hanging }
";

/// All of a delivery but its key, in SQL that both understand.
const DELIVERY: &str = "event_id, d.source, route, transaction_id, priority, CAST(d.sensitive AS INTEGER), state, due_at, \
    expires_at, attempts, definite_errors, waited, ended_at, reason, answer, CAST(alone AS INTEGER), d.id - d.event * 1048576";
const EVENT: &str = "event_id, source, type, received_at, revision, CAST(sensitive AS INTEGER), unpacked";

#[test]
fn a_gateway_on_the_copy_goes_on_where_the_one_on_the_file_stopped() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "refused" => Behaviour::Answer(400, "", "{}"),
        "failing" => Behaviour::Answer(500, "", "{}"),
        "hanging" => Behaviour::Hang,
        _ => Behaviour::Process,
    });
    let place = Place::new(novu.address, ROUTES);
    let gateway = place.start();
    ask(&gateway, "pause --route paused").fine();
    for (id, kind) in [
        ("delivered", "user.created"),
        ("paused", "user.updated"),
        ("dead", "user.deleted"),
        ("expired", "user.deleted"),
        ("cancelled", "user.deleted"),
        ("failing", "session.created"),
        ("hanging", "session.ended"),
        ("unrouted", "email.created/magic_link_sign_in"),
    ] {
        assert_eq!(gateway.send(id, &sample(kind)).status, 200, "{id}");
    }
    let count = |workflow: &str| novu.requests().iter().filter(|request| request.workflow() == workflow).count();
    eventually("all was tried", || (count("failing") > 2 && count("hanging") > 0).then_some(()));
    gateway.wait_for("deskbell_queue_deliveries{state=\"dead\"}", 3.0);
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
    gateway.kill();
    let becomes = |id: &str, state: i8| {
        format!("UPDATE deliveries SET state = {state} WHERE event = (SELECT id FROM events WHERE event_id = '{id}');")
    };
    change_file(&place, &(becomes("expired", 4) + &becomes("cancelled", 5)));
    // Its turn may not have come yet.
    change_file(&place, &becomes("paused", -1));
    // What others say may hold what PostgreSQL does not keep.
    change_file(&place, "UPDATE deliveries SET answer = 'a' || char(0) || 'b' WHERE state = 5");
    let remembered = deskbell::units::now() - 1000;
    change_file(&place, &format!("INSERT INTO remembered VALUES ('remembered', 'clerk', {remembered})"));

    let url = database();
    let said = copy_to(&place, &url);
    let deliveries = "7 deliveries: 2 retrying, 1 paused, 1 delivered, 1 dead, 1 expired, 1 cancelled";
    let expected = ["8 events copied", deliveries, "1 remembered identity copied", "1 pause copied"];
    assert_eq!(told(&said), expected);
    change_file(&place, "UPDATE deliveries SET answer = 'a\u{fffd}b' WHERE state = 5");
    let joined = |events: &str, deliveries: &str, hex: &str| {
        format!("SELECT {DELIVERY}, {hex} FROM {deliveries} d JOIN {events} e ON e.id = d.event ORDER BY e.id, d.id")
    };
    assert_eq!(
        rows(&url, &joined("deskbell.events", "deskbell.deliveries", "upper(encode(request, 'hex'))")),
        rows_of_file(&place, &joined("events", "deliveries", "hex(request)")),
    );
    assert_eq!(
        rows(&url, &format!("SELECT {EVENT}, upper(encode(body, 'hex')) FROM deskbell.events ORDER BY id")),
        rows_of_file(&place, &format!("SELECT {EVENT}, hex(body) FROM events ORDER BY id")),
    );
    assert_eq!(rows(&url, "SELECT * FROM deskbell.pauses"), rows_of_file(&place, "SELECT * FROM pauses"));
    assert_eq!(row(&url, COUNTS), ["1", "2", "0", "1"]);

    let (status, said) = place.refuses_to_start(|_| {});
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("it has moved to PostgreSQL"), "{said}");

    // Once more: all of it is there.
    assert_eq!(told(&copy_to(&place, &url)), ["0 events copied", "8 events skipped: they were there already"]);
    assert_eq!(row(&url, COUNTS), ["1", "2", "0", "1"]);

    let before = novu.requests();
    let of = |workflow: &str| before.iter().rev().find(|request| request.workflow() == workflow).expect(workflow);
    novu.now(|_, _| Behaviour::Process);
    let gateway = start_on(&place, &url);
    gateway.wait_for("deskbell_queue_deliveries{state=\"retrying\"}", 0.0);
    gateway.wait_for("deskbell_queue_deliveries{state=\"sending\"}", 0.0);
    assert_eq!((waiting(&gateway, "new"), waiting(&gateway, "dead")), (Some(1.0), Some(1.0)));
    assert_eq!(gateway.degraded(), ["route `paused` is paused"]);
    for id in ["delivered", "paused", "expired", "cancelled", "failing", "hanging", "unrouted", "remembered"] {
        assert_eq!(gateway.send(id, &sample("user.created")).outcome(), "duplicate", "{id}");
    }
    ask(&gateway, "resume --route paused").fine();
    gateway.drain();
    let sent: BTreeMap<_, _> =
        novu.requests()[before.len()..].iter().map(|sent| (sent.workflow().to_owned(), sent.clone())).collect();
    assert_eq!(novu.requests().len(), before.len() + 3, "each once");
    assert_eq!(sent["hanging"].transaction_id(), of("hanging").transaction_id());
    assert_eq!(sent["hanging"].key(), of("hanging").key(), "nobody knows what became of it");
    assert_eq!(sent["failing"].transaction_id(), of("failing").transaction_id());
    assert!(sent.contains_key("paused"));
    assert_eq!(gateway.send("dead", &sample("user.deleted")).outcome(), "duplicate");
    gateway.drain();
    let dead = "SELECT transaction_id FROM deliveries WHERE state = 3";
    assert_eq!(novu.requests().last().expect("one").transaction_id(), rows_of_file(&place, dead)[0][0]);
}

#[test]
fn several_files_move_into_one_database_that_a_gateway_uses() {
    let novu = Novu::start();
    let url = database();
    let there = Place::new(novu.address, WELCOME);
    let gateway = start_on(&there, &url);
    gateway.send("there", &sample("user.created"));
    gateway.drain();
    let closed = Novu::that(|_, _| Behaviour::Answer(500, "", "{}"));
    for (ids, copied) in
        [(["there", "msg_1", "msg_2"], "2 events copied"), (["msg_2", "msg_3", "msg_4"], "2 events copied")]
    {
        let place = Place::new(closed.address, WELCOME);
        let old = place.start();
        for id in ids {
            assert_eq!(old.send(id, &sample("user.created")).status, 200);
        }
        assert_eq!(old.stop(), Some(0));
        assert_eq!(told(&copy_to(&place, &url))[0], copied);
    }
    let order = rows(&url, "SELECT event_id FROM deskbell.events ORDER BY id").concat();
    assert_eq!(order, ["there", "msg_1", "msg_2", "msg_3", "msg_4"]);
    eventually("all are delivered", || (novu.processed().len() == 5).then_some(()));
    gateway.drain();
    assert_eq!(novu.requests().len(), 5, "each once");
}

#[test]
fn a_copy_that_was_cut_off_goes_on_when_it_is_asked_for_again() {
    const EVENTS: usize = 30_000;
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    assert_eq!(place.start().stop(), Some(0));
    change_file(
        &place,
        &format!(
            "BEGIN;
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {EVENTS})
             INSERT INTO events SELECT 3 * n, 'clerk', 'msg_' || n, 'user.created', 1000 + n, 'abc', 0, randomblob(500), NULL FROM n;
             INSERT INTO deliveries (id, event, source, route, transaction_id, priority, sensitive, state, due_at, attempts, request)
             SELECT (id << 20) + number, id, 'clerk', 'welcome', event_id || number, 1, 0, id % 4, received_at, id % 3, randomblob(200)
             FROM events, (SELECT 0 AS number UNION ALL SELECT 1);
             COMMIT"
        ),
    );
    let url = database();
    let mut command = deskbell();
    command.current_dir(place.folder.path()).args(["store", "copy", "sqlite:deskbell.db", &url]);
    let output = File::create(place.path("output")).expect("a file");
    let mut copying = Ending(command.stdout(output).stderr(Stdio::null()).spawn().expect("it starts"));
    let there = "SELECT count(*) FROM pg_tables WHERE schemaname = 'deskbell' AND tablename = 'events'";
    eventually("there is a schema", || (row(&url, there) == ["1"]).then_some(()));
    let count = "SELECT count(*) FROM deskbell.events";
    eventually("it has begun", || (row(&url, count) != ["0"]).then_some(()));
    copying.0.kill().expect("it is killed");
    copying.0.wait().expect("it has ended");
    assert_eq!(fs::read_to_string(place.path("output")).expect("a file"), "", "it was not at its end");

    // The same by the server.
    let before = row(&url, count);
    let ended = std::thread::scope(|scope| {
        let copying = scope.spawn(|| copy(&place, &format!("sqlite:deskbell.db {url}")));
        eventually("it goes on", || (row(&url, count) != before).then_some(()));
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'deskbell'";
        rows(&url, end);
        copying.join().expect("an end")
    });
    ended.failed(1).says(&[" of 30000 events of `deskbell.db` are in `", "ask for the same again, and it goes on"]);

    let said = copy_to(&place, &url);
    let number = |what: &str| {
        let line = said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {said}"));
        line.split(' ').next().and_then(|number| number.parse::<usize>().ok()).expect("a number")
    };
    let (copied, skipped) = (number("copied"), number("skipped"));
    assert!(skipped > 0 && copied > 0, "{said}");
    assert_eq!(copied + skipped, EVENTS);
    assert_eq!(row(&url, count), [EVENTS.to_string()]);
    let deliveries = "SELECT count(*), count(DISTINCT transaction_id), count(DISTINCT d.id >> 20), bool_and(d.id >> 20 = e.id
             AND transaction_id = e.event_id || (d.id & 1048575)) FROM deskbell.deliveries d JOIN deskbell.events e ON e.id = d.event";
    let both = (2 * EVENTS).to_string();
    assert_eq!(row(&url, deliveries), [&both, &both, &EVENTS.to_string(), "t"]);
    let order = "SELECT count(*) FROM (SELECT received_at - lag(received_at) OVER (ORDER BY id) AS step FROM deskbell.events) s WHERE step <> 1";
    assert_eq!(row(&url, order), ["0"], "the order is kept");
    let counted =
        "SELECT count(*) FILTER (WHERE state < 1 AND attempts = 0), count(*) FILTER (WHERE state < 1 AND attempts > 0),
             0, count(*) FILTER (WHERE state = 3) FROM deskbell.deliveries";
    assert_eq!(row(&url, COUNTS), row(&url, counted));
}

#[test]
fn what_cannot_be_copied_is_refused_with_a_hint() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let url = database();
    copy(&place, &format!("sqlite:missing.db {url}"))
        .failed(1)
        .says(&["there is no store `missing.db`", "hint: name the file"]);
    assert!(!place.path("missing.db").exists() && !place.path("missing.db.lock").exists());

    let gateway = place.start();
    copy(&place, &format!("sqlite:deskbell.db {url}"))
        .failed(1)
        .says(&["`deskbell.db` belongs to another process", "hint: stop the gateway"]);
    assert_eq!(gateway.stop(), Some(0));

    for (from, to, status, said, hint) in [
        (
            "sqlite:deskbell.db",
            "sqlite:other.db",
            2,
            "from a file to a PostgreSQL server",
            "such as `deskbell store copy",
        ),
        (&url, "sqlite:other.db", 2, "from a file to a PostgreSQL server", "such as `deskbell store copy"),
        (&url, &url, 2, "from a file to a PostgreSQL server", "such as `deskbell store copy"),
        ("deskbell.db", &url, 2, "`deskbell.db` is not a store", "such as `deskbell store copy"),
        ("sqlite:routes.yaml", &url, 1, "file is not a database", "name another file"),
        ("sqlite:deskbell.db", "mysql://me:s3cret@db/x", 2, "`mysql://db/x` is not a store", "such as"),
        ("sqlite:deskbell.db", "postgres://me:s3cret@", 2, "expected `postgres://USER:PASSWORD@", "such as"),
        ("sqlite:deskbell.db", "postgres://me:s3cret@db/x?sslmode=s3cret", 2, "`sslmode` is one of", "such as"),
        (
            "sqlite:deskbell.db",
            "postgres://me:s3cret@127.0.0.1:1/x",
            1,
            "`postgres://127.0.0.1:1/x`",
            "PostgreSQL server runs",
        ),
        ("sqlite:deskbell.db", &format!("{url}_missing"), 1, "does not exist", "createdb"),
    ] {
        let ran = copy(&place, &format!("{from} {to}")).failed(status).says(&[said, "hint: ", hint]);
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
    assert!(!place.path("other.db").exists());
    // What could not begin has changed nothing.
    assert_eq!(place.start().stop(), Some(0));
}

#[test]
fn a_terminal_shows_how_far_it_is_and_the_address_may_be_in_the_environment() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    assert_eq!(gateway.stop(), Some(0));
    let url = database();
    let shown = at_a_terminal(place.folder.path(), &["store", "copy", "sqlite:deskbell.db", &url]);
    assert!(shown.contains("1 of 1 events, "), "{shown}");
    assert!(shown.contains(" a second\n1 event copied in "), "{shown}");
    let url = database();
    let environment = |arguments: &str| {
        run_with(arguments, |command| {
            command.current_dir(place.folder.path()).env("DESKBELL_STORE", &url);
        })
    };
    let said = environment("store copy sqlite:deskbell.db").fine().stdout;
    assert_eq!(told(&said), ["1 event copied", "1 delivery: 1 delivered"]);
    assert!(!environment("store copy --help").fine().stdout.contains(&url));
}
