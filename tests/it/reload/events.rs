//! With file events and without: what the kernel refuses is refused here by a library in front of it.

use std::path::Path;
use std::time::Instant;

use super::{HELLO, Watched, write};
use crate::harness::{Gateway, Place, WELCOME, deskbell, eventually};
use crate::novu::Novu;
use crate::preload::{let_fail, let_mount};

fn lines(gateway: &Gateway, with: &str) -> Vec<serde_json::Value> {
    let log = gateway.log();
    log.lines().filter(|line| line.contains(with)).map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn rewrite(folder: &Path, text: &str) {
    write(folder.join("routes.yaml"), text);
}

#[test]
fn without_file_events_a_changed_file_is_taken_all_the_same() {
    for (call, reason) in [("inotify_init1", "Too many open files"), ("inotify_add_watch", "limit")] {
        let watched = Watched::started(|_| {}, |command| let_fail(command, call));
        watched.change(HELLO, "hello", rewrite);
        watched.change(WELCOME, "welcome", rewrite);
        watched.gateway.has_logged("no file events");
        let told = lines(&watched.gateway, "no file events");
        assert_eq!(told.len(), 1, "it is said once: {told:?}");
        assert_eq!(told[0]["level"], "WARN");
        assert!(told[0]["error"].as_str().expect("an error").contains(reason), "{}", told[0]);
        assert!(told[0]["hint"].as_str().expect("a hint").contains("fs.inotify.max_user_instances"), "{}", told[0]);

        // Without events, five changes take five looks, and nearly ten seconds.
        let started = Instant::now();
        for (routes, route) in [(HELLO, "hello"), (WELCOME, "welcome")].into_iter().cycle().take(5) {
            watched.change(routes, route, |folder, text| {
                rewrite(folder, text);
                watched.gateway.signal("HUP");
            });
        }
        assert!(started.elapsed().as_secs() < 5, "a signal looks at once, and this took {:?}", started.elapsed());
    }
}

#[test]
fn with_file_events_nothing_waits_for_the_next_look() {
    let watched = Watched::new(|_| {});
    let started = Instant::now();
    for _ in 0..5 {
        watched.change(HELLO, "hello", rewrite);
        watched.change(WELCOME, "welcome", |folder, text| {
            write(folder.join("new"), text);
            std::fs::rename(folder.join("new"), folder.join("routes.yaml")).expect("it is renamed");
        });
    }
    // The looks alone would need two seconds for each of the ten changes.
    assert!(started.elapsed().as_secs() < 10, "it took {:?}", started.elapsed());
}

/// A gateway that is told of these mounts; whatever it says about them.
fn warnings_with_mounts(place: &Place, mounts: &str, arguments: &[&str]) -> Vec<serde_json::Value> {
    write(place.path("mounts"), mounts);
    let gateway = place.start_with(|command| {
        let_mount(command, &place.path("mounts"));
        command.args(arguments);
    });
    lines(&gateway, "mounted on its own")
}

#[test]
fn a_file_that_is_mounted_alone_is_warned_of() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let real = place.path("routes.yaml").canonicalize().expect("a path");
    let folder = real.parent().expect("a folder").display();
    let mounts = |point: &str| format!("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:1 /x {point} rw - ext4 /x rw\n");

    let told = warnings_with_mounts(&place, &mounts(&real.display().to_string()), &[]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["level"], "WARN");
    assert!(told[0]["hint"].as_str().expect("a hint").contains("mount the folder"), "{}", told[0]);

    super::link("routes.yaml", place.folder.path(), "link.yaml");
    let told = warnings_with_mounts(&place, &mounts(&real.display().to_string()), &["--routes", "link.yaml"]);
    assert_eq!(told.len(), 1, "the file behind a link is: {told:?}");

    let told = warnings_with_mounts(&place, &mounts(&folder.to_string()), &[]);
    assert_eq!(told, Vec::<serde_json::Value>::new(), "its folder is mounted, as it should be");
}

#[test]
fn dev_warns_of_a_file_that_is_mounted_alone() {
    let place = Place::new(([127, 0, 0, 1], 9).into(), WELCOME);
    let real = place.path("routes.yaml").canonicalize().expect("a path");
    write(place.path("mounts"), &format!("22 21 8:1 /x {} rw - ext4 /x rw\n", real.display()));
    let mut command = deskbell();
    let_mount(&mut command, &place.path("mounts"));
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"]);
    command.current_dir(place.folder.path());
    let gateway = Gateway::spawn(command);
    eventually("it warns", || (lines(&gateway, "mounted on its own").len() == 1).then_some(()));
}
