//! The disk of the store fills while webhooks come and attempts are under way, and is freed again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{ONE_ROUTE, Over, Svix, drain, in_queue, rules};
use crate::harness::{Gateway, Place, eventually};
use crate::novu::service::Service;
use crate::preload;

const DELIVERY: &str = "timeout: 1m, concurrency: 16, bulk: off";
const UNDER_WAY: f64 = 16.0;
const CONNECTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
const OK: &str = "deskbell_attempts_total{result=\"ok\"}";

/// A disk for the store alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// A library in front of the kernel says that it is full. No rights are needed.
    Preloaded,
    /// A file system in memory, which only this gateway sees. It needs `unshare`, and a kernel that lets us.
    Mounted,
}

pub struct Ran {
    pub events: usize,
    /// How often a webhook was refused.
    pub unavailable: usize,
}

impl Disk {
    /// Fills it so many times, with at least so many events before the next time.
    pub fn run(self, rounds: usize, between: usize) -> Ran {
        let service = Service::start();
        let place = Place::new(service.address, ONE_ROUTE);
        place.write_rules(&rules(service.address, DELIVERY, ONE_ROUTE));
        let gateway = self.start(&place);
        let svix = Svix::new(usize::MAX, Duration::from_millis(5));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = Over(&over);
            scope.spawn(|| svix.send(gateway.webhooks, CONNECTIONS, &over));
            for round in 0..rounds {
                service.hold_answers();
                eventually("attempts are under way", || (in_queue(&gateway, "sending") == UNDER_WAY).then_some(()));
                self.fill(&place, &gateway);
                self.assert_full(&gateway, &svix, &service, round);
                self.free(&place, &gateway);
                let accepted = svix.accepted_count();
                eventually("webhooks are taken again", || (svix.accepted_count() > accepted + between).then_some(()));
                eventually("it is ready", || (gateway.get("/readyz").status == 200).then_some(()));
            }
        });
        svix.finish(gateway.webhooks, CONNECTIONS);
        drain(&gateway, PATIENCE);

        let events = svix.accepted();
        let judge = service.judge();
        judge.assert_once(&events, &["welcome"]);
        assert_eq!(judge.requests(), events.len(), "what could not be noted at once is not sent again");
        assert_eq!(gateway.ended("welcome", "delivered"), events.len() as f64);
        Ran { events: events.len(), unavailable: svix.unavailable.load(Ordering::Relaxed) }
    }

    fn assert_full(self, gateway: &Gateway, svix: &Svix, service: &Service, round: usize) {
        let before = svix.unavailable.load(Ordering::Relaxed);
        eventually("webhooks are refused", || (svix.unavailable.load(Ordering::Relaxed) > before).then_some(()));
        eventually("it is not ready", || (gateway.get("/readyz").status == 503).then_some(()));
        service.release_answers();
        let answered = || gateway.metric(OK) == Some(service.judge().requests() as f64);
        eventually("Novu has answered", || answered().then_some(()));
        // Later there are old pages of the log that can be written over.
        if round == 0 {
            assert_eq!(in_queue(gateway, "sending"), UNDER_WAY, "what Novu has answered cannot be noted");
        }
    }

    fn start(self, place: &Place) -> Gateway {
        fs::create_dir(place.path("store")).expect("a folder");
        let mut command = place.command();
        command.arg("--store=sqlite:store/deskbell.db").env("DESKBELL_LOG", "info");
        match self {
            Disk::Preloaded => preload::let_fill(&mut command, &place.path("store")),
            Disk::Mounted => command = mounted(&command),
        }
        Gateway::spawn(command)
    }

    fn fill(self, place: &Place, gateway: &Gateway) {
        match self {
            Disk::Preloaded => drop(File::create(place.path("store.full")).expect("a sign")),
            Disk::Mounted => {
                let mut filler = File::create(filler(place, gateway)).expect("a file");
                while filler.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
            }
        }
    }

    fn free(self, place: &Place, gateway: &Gateway) {
        let path = match self {
            Disk::Preloaded => place.path("store.full"),
            Disk::Mounted => filler(place, gateway),
        };
        fs::remove_file(path).expect("it goes");
    }
}

/// The same command with a small file system of its own at `store`.
fn mounted(gateway: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=512m tmpfs store && exec \"$@\"").arg("sh");
    command.arg(gateway.get_program()).args(gateway.get_args());
    command.current_dir(gateway.get_current_dir().expect("a folder"));
    for (name, value) in gateway.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// The way into what only the gateway sees.
fn filler(place: &Place, gateway: &Gateway) -> PathBuf {
    let folder = fs::canonicalize(place.path("store")).expect("a folder");
    PathBuf::from(format!("/proc/{}/root{}/filler", gateway.id(), folder.display()))
}
