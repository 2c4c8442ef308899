//! The file of rules changes while the gateway runs.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod events;

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use serde_json::json;

use crate::harness::{Client, Gateway, Place, SECRET, Signed, WELCOME, eventually, rules, sample};
use crate::novu::Novu;

const HELLO: &str = "  - { event: user.created, workflow: hello }\n";

fn revision(text: &str) -> String {
    Compiled::of(text.as_bytes(), Outside::Optional).revision
}

fn reloads(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("deskbell_rules_reloads_total{{result=\"{result}\"}}")).unwrap_or_default()
}

/// Waits until these rules run, and the change to them is over and counted.
fn wait_until_it_runs(gateway: &Gateway, text: &str) {
    let revision = revision(text);
    eventually("the rules run", || {
        let page = gateway.get("/api/rules").json();
        (page["revision"] == revision && page["last_reload"]["revision"] == revision).then_some(())
    });
}

/// Waits until a change has been turned down, and that is counted.
fn wait_until_it_is_rejected(gateway: &Gateway) {
    eventually("it is rejected", || {
        (gateway.get("/api/rules").json()["last_reload"]["result"] == "rejected").then_some(())
    });
    assert_eq!(reloads(gateway, "rejected"), 1.0);
}

/// Whatever is written there, and however: it runs, and events are decided by it.
struct Watched {
    novu: Novu,
    place: Place,
    gateway: Gateway,
    sent: AtomicUsize,
}

impl Watched {
    /// A gateway on a file that some preparation may have made a link.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        Self::started(prepare, |_| {})
    }

    fn started(prepare: impl FnOnce(&Path), change: impl FnOnce(&mut Command)) -> Self {
        let novu = Novu::start();
        let place = Place::new(novu.address, WELCOME);
        prepare(place.folder.path());
        let gateway = place.start_with(change);
        Self { novu, place, gateway, sent: AtomicUsize::new(0) }
    }

    fn rules(&self, routes: &str) -> String {
        rules(self.novu.address, routes)
    }

    #[track_caller]
    fn decides(&self, route: &str) {
        let id = format!("msg_{}", self.sent.fetch_add(1, Ordering::Relaxed));
        assert_eq!(self.gateway.send(&id, &sample("user.created")).json()["routes"], json!([route]));
    }

    /// Changes the file, and expects these routes to run in the end.
    fn change(&self, routes: &str, route: &str, write: impl FnOnce(&Path, &str)) {
        let text = self.rules(routes);
        write(self.place.folder.path(), &text);
        wait_until_it_runs(&self.gateway, &text);
        self.decides(route);
    }
}

fn write(path: impl AsRef<Path>, text: &str) {
    std::fs::write(path, text).expect("a file");
}

fn link(to: &str, folder: &Path, name: &str) {
    let fresh = folder.join("fresh-link");
    symlink(to, &fresh).expect("a link");
    std::fs::rename(fresh, folder.join(name)).expect("it takes the place of the old one");
}

#[test]
fn an_edit_in_place_and_an_editor_that_renames() {
    let watched = Watched::new(|_| {});
    watched.decides("welcome");
    for _ in 0..2 {
        watched.change(HELLO, "hello", |folder, text| write(folder.join("routes.yaml"), text));
        watched.change(WELCOME, "welcome", |folder, text| {
            write(folder.join("routes.yaml~new"), text);
            std::fs::rename(folder.join("routes.yaml~new"), folder.join("routes.yaml")).expect("it is renamed");
        });
        watched.change(HELLO, "hello", |folder, text| {
            std::fs::rename(folder.join("routes.yaml"), folder.join("routes.yaml.bak")).expect("a backup");
            write(folder.join("routes.yaml"), text);
        });
        watched.change(WELCOME, "welcome", |folder, text| write(folder.join("routes.yaml"), text));
    }
    assert_eq!((reloads(&watched.gateway, "applied"), reloads(&watched.gateway, "rejected")), (8.0, 0.0));
}

#[test]
fn links_that_are_turned_to_another_file() {
    let watched = Watched::new(|folder| {
        std::fs::create_dir_all(folder.join("git/first")).expect("a folder");
        std::fs::rename(folder.join("routes.yaml"), folder.join("git/first/routes.yaml")).expect("it is moved");
        link("git/first/routes.yaml", folder, "routes.yaml");
    });
    watched.change(HELLO, "hello", |folder, text| {
        write(folder.join("git/second.yaml"), text);
        link("git/second.yaml", folder, "routes.yaml");
    });
    watched.change(WELCOME, "welcome", |folder, text| write(folder.join("git/second.yaml"), text));
    watched.change(HELLO, "hello", |folder, text| {
        write(folder.join("third.yaml"), text);
        link("third.yaml", folder, "routes.yaml");
    });
    assert_eq!((reloads(&watched.gateway, "applied"), reloads(&watched.gateway, "rejected")), (3.0, 0.0));
}

#[test]
fn a_folder_that_is_a_link_is_turned_to_another_as_git_sync_does() {
    let checkout = |folder: &Path, name: &str, text: &str| {
        std::fs::create_dir(folder.join(name)).expect("a folder");
        write(folder.join(name).join("routes.yaml"), text);
        link(name, folder, "current");
    };
    let watched = Watched::started(
        |folder| {
            let text = std::fs::read_to_string(folder.join("routes.yaml")).expect("rules");
            checkout(folder, "0", &text);
        },
        |command| {
            command.args(["--routes", "current/routes.yaml"]);
        },
    );
    for (version, (routes, route)) in [(HELLO, "hello"), (WELCOME, "welcome"), (HELLO, "hello")].iter().enumerate() {
        watched.change(routes, route, |folder, text| {
            checkout(folder, &(version + 1).to_string(), text);
            std::fs::remove_dir_all(folder.join(version.to_string())).expect("the old one goes");
        });
    }
    assert_eq!((reloads(&watched.gateway, "applied"), reloads(&watched.gateway, "rejected")), (3.0, 0.0));
}

#[test]
fn a_folder_that_is_made_again_or_moved_away_and_back_is_looked_at_all_the_same() {
    let watched = Watched::started(
        |folder| {
            std::fs::create_dir(folder.join("rules")).expect("a folder");
            std::fs::rename(folder.join("routes.yaml"), folder.join("rules/routes.yaml")).expect("it is moved");
        },
        |command| {
            command.args(["--routes", "rules/routes.yaml"]);
        },
    );
    let refusals = |log: &str| log.lines().filter(|line| line.contains("cannot be read")).count();
    for (round, routes) in [(1, HELLO), (2, WELCOME)] {
        let folder = watched.place.path("rules");
        match round {
            1 => std::fs::remove_dir_all(&folder).expect("it is removed"),
            _ => std::fs::rename(&folder, watched.place.path("elsewhere")).expect("it is renamed"),
        }
        watched.gateway.wait_for("deskbell_rules_reloads_total{result=\"rejected\"}", f64::from(round));
        watched.change(routes, if round == 1 { "hello" } else { "welcome" }, |_, text| {
            std::fs::create_dir(&folder).expect("a folder");
            write(folder.join("routes.yaml"), text);
        });
    }
    eventually("each is told", || (refusals(&watched.gateway.log()) >= 2).then_some(()));
    assert_eq!(refusals(&watched.gateway.log()), 2, "each is told once: {}", watched.gateway.log());
    assert_eq!((reloads(&watched.gateway, "applied"), reloads(&watched.gateway, "rejected")), (2.0, 2.0));
}

#[test]
fn a_config_map_is_swapped_by_kubernetes() {
    let watched = Watched::new(|folder| {
        std::fs::create_dir(folder.join("..2026_01")).expect("a folder");
        std::fs::rename(folder.join("routes.yaml"), folder.join("..2026_01/routes.yaml")).expect("it is moved");
        link("..2026_01", folder, "..data");
        link("..data/routes.yaml", folder, "routes.yaml");
    });
    for (version, (routes, route)) in [(HELLO, "hello"), (WELCOME, "welcome"), (HELLO, "hello")].iter().enumerate() {
        watched.change(routes, route, |folder, text| {
            let data = format!("..2026_02_{version}");
            std::fs::create_dir(folder.join(&data)).expect("a folder");
            write(folder.join(&data).join("routes.yaml"), text);
            let old = std::fs::read_link(folder.join("..data")).expect("a link");
            link(&data, folder, "..data");
            std::fs::remove_dir_all(folder.join(old)).expect("the old one goes");
        });
    }
    assert_eq!((reloads(&watched.gateway, "applied"), reloads(&watched.gateway, "rejected")), (3.0, 0.0));
}

#[test]
fn a_file_that_is_half_written_is_not_read() {
    let watched = Watched::new(|_| {});
    let path = watched.place.path("routes.yaml");
    let whole = [watched.rules(HELLO), watched.rules(&format!("{HELLO}{WELCOME}"))];
    let mut in_time = 0;
    for text in whole.iter().cycle().take(10) {
        let before = ["applied", "rejected"].map(|result| reloads(&watched.gateway, result));
        let (mut quick, mut begun) = (true, None::<Instant>);
        for length in [text.len() / 2, text.len() - 20, text.len()] {
            if begun.is_some() {
                std::thread::sleep(Duration::from_millis(30));
            }
            let last = begun.replace(Instant::now());
            write(&path, &text[..length]);
            quick &= last.is_none_or(|last| last.elapsed() < Duration::from_millis(90));
        }
        wait_until_it_runs(&watched.gateway, text);
        if quick {
            in_time += 1;
            let after = ["applied", "rejected"].map(|result| reloads(&watched.gateway, result));
            assert_eq!(after, [before[0] + 1.0, before[1]], "only the whole of it is taken");
        }
    }
    assert!(in_time > 0, "this machine was too slow to write a file within a tenth of a second");
}

#[test]
fn a_broken_file_leaves_the_good_rules_running_and_says_so() {
    let watched = Watched::new(|_| {});
    let gateway = &watched.gateway;
    let good = watched.rules(WELCOME);
    write(
        watched.place.path("routes.yaml"),
        &watched.rules("  - { event: user.created, workflow: hello, filer: $.data }\n"),
    );
    wait_until_it_is_rejected(gateway);
    assert_eq!(gateway.metric("deskbell_rules_last_reload_successful"), Some(0.0));
    watched.decides("welcome");
    assert!(gateway.degraded()[0].contains("rejected"), "{:?}", gateway.degraded());
    let page = gateway.get("/api/rules").json();
    assert_eq!((&page["revision"], &page["last_reload"]["result"]), (&json!(revision(&good)), &json!("rejected")));
    let problem = &page["last_reload"]["problems"][0];
    assert_eq!(
        (&problem["severity"], &problem["code"], &problem["line"]),
        (&json!("error"), &json!("unknown_key"), &json!(6))
    );
    gateway.has_logged("filer");

    write(watched.place.path("routes.yaml"), &good);
    eventually("all is well", || gateway.degraded().is_empty().then_some(()));
    assert_eq!(gateway.metric("deskbell_rules_last_reload_successful"), Some(1.0));
    assert_eq!(gateway.get("/api/rules").json()["last_reload"]["problems"], json!([]));
    watched.change(HELLO, "hello", |folder, text| write(folder.join("routes.yaml"), text));
}

#[test]
fn a_file_with_very_much_wrong_in_it_is_told_in_part() {
    let watched = Watched::new(|_| {});
    let nested = format!("vars: {}1{}", "{ a: ".repeat(62), " }".repeat(62));
    let wrong = |number| format!("  - {{ event: user.created, workflow: hello{number}, filer: x }}\n");
    let wrong: String = (0..5_000).map(wrong).collect();
    write(watched.place.path("routes.yaml"), &format!("{nested}\n{}", watched.rules(&wrong)));
    wait_until_it_is_rejected(&watched.gateway);
    let page = watched.gateway.get("/api/rules").json();
    let problems = page["last_reload"]["problems"].as_array().expect("problems");
    assert_eq!((problems.len(), &problems[1000]["code"]), (1001, &json!("more_problems")));
    watched.gateway.has_logged("and 981 more errors");
    let log = watched.gateway.log();
    assert_eq!(log.lines().filter(|line| line.contains("routes.yaml:")).count(), 20, "{log}");
    watched.decides("welcome");
}

#[test]
fn a_file_whose_tests_fail_is_refused() {
    let watched = Watched::new(|_| {});
    let failing = format!("{}tests: [{{ event: user.created, expect: [] }}]\n", watched.rules(HELLO));
    write(watched.place.path("routes.yaml"), &failing);
    watched.gateway.wait_for("deskbell_rules_reloads_total{result=\"rejected\"}", 1.0);
    watched.decides("welcome");
    let problem = watched.gateway.get("/api/rules").json()["last_reload"]["problems"][0].clone();
    assert_eq!((&problem["code"], &problem["line"]), (&json!("test_failed"), &json!(7)), "{problem:#}");

    let passing = failing.replace("expect: []", "expect: [{ route: hello }]");
    write(watched.place.path("routes.yaml"), &passing);
    wait_until_it_runs(&watched.gateway, &passing);
    watched.decides("hello");
}

#[test]
fn a_file_that_is_put_back_as_it_runs_is_not_refused_for_its_tests() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let running = format!("{}tests: [{{ event: user.created, expect: [] }}]\n", rules(novu.address, WELCOME));
    place.write_rules(&running);
    let gateway = place.start();
    place.write_rules("routes: [");
    gateway.wait_for("deskbell_rules_reloads_total{result=\"rejected\"}", 1.0);
    place.write_rules(&running);
    gateway.wait_for("deskbell_rules_reloads_total{result=\"unchanged\"}", 1.0);
    assert_eq!((gateway.degraded(), reloads(&gateway, "rejected")), (Vec::new(), 1.0));
    gateway.wait_for("deskbell_rules_last_reload_successful", 1.0);
}

#[test]
fn a_file_that_is_gone_leaves_the_good_rules_running_and_may_come_back() {
    let watched = Watched::new(|_| {});
    let text = std::fs::read_to_string(watched.place.path("routes.yaml")).expect("rules");
    std::fs::remove_file(watched.place.path("routes.yaml")).expect("it is removed");
    wait_until_it_is_rejected(&watched.gateway);
    assert_eq!(watched.gateway.degraded().len(), 1);
    assert_eq!(watched.gateway.post("/-/reload").status, 422);
    watched.decides("welcome");
    write(watched.place.path("routes.yaml"), &text);
    eventually("all is well", || watched.gateway.degraded().is_empty().then_some(()));
    watched.decides("welcome");
    watched.change(HELLO, "hello", |folder, text| write(folder.join("routes.yaml"), text));
}

#[test]
fn the_same_content_is_no_change() {
    let watched = Watched::new(|_| {});
    let text = watched.rules(WELCOME);
    let taken_at = "deskbell_rules_last_reload_success_timestamp_seconds";
    let before = watched.gateway.metric(taken_at);
    write(watched.place.path("routes.yaml"), &text);
    // Signals and requests look at once, and after the watcher.
    for (count, ask) in [(1.0, "signal"), (2.0, "request")] {
        match ask {
            "signal" => watched.gateway.signal("HUP"),
            _ => assert_eq!(watched.gateway.post("/-/reload").json()["result"], "unchanged"),
        }
        watched.gateway.wait_for("deskbell_rules_reloads_total{result=\"unchanged\"}", count);
    }
    assert_eq!((reloads(&watched.gateway, "applied"), reloads(&watched.gateway, "rejected")), (0.0, 0.0));
    assert_eq!(watched.gateway.metric(taken_at), before);
}

#[test]
fn a_reload_that_is_asked_for_answers_for_the_file_as_it_is() {
    let watched = Watched::new(|_| {});
    for (routes, route) in [(HELLO, "hello"), (WELCOME, "welcome")] {
        write(watched.place.path("routes.yaml"), &watched.rules(routes));
        let answer = watched.gateway.post("/-/reload");
        assert_eq!((answer.status, &answer.json()["revision"]), (200, &json!(revision(&watched.rules(routes)))));
        watched.decides(route);

        write(watched.place.path("routes.yaml"), "routes: [");
        // The second time there is nothing new, and it is as wrong as before.
        for _ in 0..2 {
            let answer = watched.gateway.post("/-/reload");
            assert_eq!((answer.status, &answer.json()["result"]), (422, &json!("rejected")), "{}", answer.body);
            assert_eq!(answer.json()["revision"], revision(&watched.rules(routes)), "what runs is the last good one");
            assert!(!answer.json()["problems"].as_array().expect("problems").is_empty());
        }
        watched.decides(route);
    }
}

#[test]
fn a_secret_file_that_is_rotated_takes_effect() {
    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let file = place.path("signing-secret");
    write(&file, &format!("{SECRET}\n"));
    let in_file = format!("[\"${{file:{}}}\"]", file.display());
    place.write_rules(&rules(novu.address, WELCOME).replace(&format!("[{SECRET}]"), &in_file));
    let gateway = place.start();
    let post = |secret: &str, id: &str| {
        let now = (deskbell::units::now() / 1000).to_string();
        gateway.request(&Signed::with(secret, id, b"{}", &now).request()).status
    };
    assert_eq!((post(SECRET, "msg_1"), post(other, "msg_2")), (200, 400));
    write(&file, other);
    eventually("the new secret is taken", || (post(other, "msg_3") == 200).then_some(()));
    assert_eq!(post(SECRET, "msg_4"), 400);
    write(&file, "");
    assert_eq!(gateway.post("/-/reload").status, 422);
    assert_eq!(post(other, "msg_5"), 200, "the last good one stays");
}

#[test]
fn a_secret_file_that_comes_after_the_rules_that_name_it_takes_effect() {
    let watched = Watched::new(|_| {});
    let file = watched.place.path("novu-key");
    let text = watched.rules(HELLO).replace("key-of-the-tests", &format!("\"${{file:{}}}\"", file.display()));
    write(watched.place.path("routes.yaml"), &text);
    wait_until_it_is_rejected(&watched.gateway);
    write(&file, "the-new-key");
    wait_until_it_runs(&watched.gateway, &text);
    watched.decides("hello");
    assert_eq!(watched.novu.wait_for(1)[0].headers["authorization"], "ApiKey the-new-key");
}

/// Two routes that say everywhere which version of the file they are from.
fn version(novu: &Novu, version: &str) -> String {
    let routes = ["one", "two"].map(|name| {
        format!(
            "  - {{ name: {version}-{name}, event: user.created, workflow: {version}-{name}, \
             payload: {{ event: \"{{{{webhook.id}}}}\", route: {version}, var: \"{{{{vars.version}}}}\" }} }}\n"
        )
    });
    format!("vars: {{ version: {version} }}\n{}", rules(novu.address, &routes.concat()))
}

/// Tells others that it is over, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn each_event_is_decided_by_one_revision_and_none_is_refused() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let texts = ["v1", "v2"].map(|name| version(&novu, name));
    let revisions: HashMap<String, &str> = texts.iter().map(|text| revision(text)).zip(["v1", "v2"]).collect();
    place.write_rules(&texts[0]);
    let gateway = place.start();
    let (edits_are_over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let decided_by: Mutex<HashMap<String, &str>> = Mutex::default();
    let body = sample("user.created");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::new(gateway.webhooks).expect("a connection");
                while !edits_are_over.load(Ordering::Relaxed) {
                    let id = format!("msg_{}", next.fetch_add(1, Ordering::Relaxed));
                    let answer = client.send(&id, &body).expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    let version = revisions[answer.json()["revision"].as_str().expect("a revision")];
                    assert_eq!(answer.json()["routes"], json!([format!("{version}-one"), format!("{version}-two")]));
                    decided_by.lock().expect("decisions").insert(id, version);
                    // Steadily, and no faster than Novu takes it.
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let _over = Over(&edits_are_over);
        for edit in 1..=50 {
            let text = &texts[edit % 2];
            place.write_rules(text);
            match edit % 4 {
                0 => assert_eq!(gateway.post("/-/reload").status, 200),
                1 => gateway.signal("HUP"),
                _ => {}
            }
            wait_until_it_runs(&gateway, text);
            if edit == 10 {
                place.write_rules(&text[..text.len() - 5]);
                assert_eq!(gateway.post("/-/reload").status, 422);
            }
        }
    });
    gateway.drain();
    let decided_by = decided_by.into_inner().expect("decisions");
    let versions: Vec<&str> = decided_by.values().copied().collect();
    assert!(versions.contains(&"v1") && versions.contains(&"v2"), "events came all the time");
    let requests = novu.requests();
    assert_eq!(requests.len(), 2 * decided_by.len());
    for request in requests {
        let payload = &request.body["payload"];
        let version = decided_by[payload["event"].as_str().expect("an event")];
        assert!(request.workflow().starts_with(version), "{}", request.body);
        assert_eq!((&payload["route"], &payload["var"]), (&json!(version), &json!(version)));
    }
}
