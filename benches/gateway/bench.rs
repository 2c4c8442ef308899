//! What every measurement needs: a Novu, a folder, servers, and how long to measure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::load::{self, Sent};
use crate::machine::{self, Cores};
use crate::novu::Novu;
use crate::program::Program;
use crate::rules::Rules;
use crate::store::{Full, Stores};
use crate::webhook::Webhooks;

/// As many as Svix would have open at once for an endpoint that is fast.
pub const CONNECTIONS: usize = 16;
/// What all stores take together, in GiB.
const ROOM: u64 = 10;
const WARM_UP: Duration = Duration::from_millis(500);

/// Which server is measured.
#[derive(Clone, Copy)]
pub enum Server {
    Limit(&'static str),
    Gateway(Rules),
}

pub struct Bench {
    pub cores: Cores,
    pub novu: Novu,
    stores: Stores,
    /// How long one part takes.
    pub time: Duration,
    pub folder: TempDir,
}

impl Bench {
    /// `folder` is where stores are put: on a disk, not in memory.
    ///
    /// # Errors
    /// How much room is missing.
    pub fn new(cores: Cores, folder: &Path, time: Duration) -> Result<Self, String> {
        fs::create_dir_all(folder).expect("a folder");
        for entry in fs::read_dir(folder).expect("a folder").map_while(Result::ok).map(|entry| entry.path()) {
            // A run that was cut off has left it.
            if entry.is_dir() {
                fs::remove_dir_all(entry).expect("a folder that can be removed");
            }
        }
        let free = machine::free_gibibytes(folder);
        if free < ROOM {
            return Err(format!("it needs {ROOM} GiB for a while, and {} has {free}", folder.display()));
        }
        let folder = tempfile::tempdir_in(folder).expect("a folder");
        let stores = Stores::new(folder.path());
        Ok(Self { cores, novu: Novu::start(), stores, time, folder })
    }

    /// Starts a server with nothing kept.
    pub fn start(&self, server: Server) -> Running {
        self.start_with(server, &self.novu)
    }

    /// The same with another Novu.
    pub fn start_with(&self, server: Server, novu: &Novu) -> Running {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let program = match server {
            Server::Limit(name) => Program::limit(&self.cores, name, novu.address, folder.path()),
            Server::Gateway(rules) => self.gateway(rules, novu, folder.path()),
        };
        Running { program, _folder: Some(folder) }
    }

    /// Starts a gateway on a store that is there.
    pub fn start_on(&self, rules: Rules, store: &Path) -> Running {
        let folder = store.parent().expect("a folder");
        Running { program: self.gateway(rules, &self.novu, folder), _folder: None }
    }

    fn gateway(&self, rules: Rules, novu: &Novu, folder: &Path) -> Program {
        fs::write(folder.join("routes.yaml"), rules.text(novu.address)).expect("the rules");
        Program::gateway(&self.cores, folder, None)
    }

    /// Starts a gateway on a store that is somewhere else, in a folder of its own.
    pub fn gateway_on(&self, rules: Rules, store: &str) -> (Program, TempDir) {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        fs::write(folder.path().join("routes.yaml"), rules.text(self.novu.address)).expect("the rules");
        (Program::gateway(&self.cores, folder.path(), Some(store)), folder)
    }

    /// The one store that is full of this, whoever has used it.
    pub fn shared_store(&self, full: Full) -> PathBuf {
        self.cores.everywhere(|| self.stores.shared(full))
    }

    /// A copy of it in a folder.
    pub fn copy_of_store(&self, full: Full, folder: &Path) -> PathBuf {
        let copy = store_in(folder);
        fs::copy(self.shared_store(full), &copy).expect("room on the disk");
        // It is not to be written while something is measured.
        File::open(&copy).and_then(|file| file.sync_all()).expect("a disk");
        copy
    }

    /// Sends for a short while, and waits until Novu has it all, if it comes there.
    pub fn warm_up(&self, program: &Program, connections: usize, webhooks: &Webhooks, delivers: bool) {
        let to = delivers.then_some(&self.novu);
        self.novu.reset(Duration::ZERO);
        warm_up(program, connections, webhooks, to);
        self.novu.reset(Duration::ZERO);
    }

    pub fn send(&self, program: &Program, connections: usize, webhooks: &Webhooks) -> Sent {
        load::as_fast_as_possible(program.webhooks, connections, webhooks, self.time)
    }
}

/// Sends for a short while, and waits until this Novu has it all.
pub fn warm_up(program: &Program, connections: usize, webhooks: &Webhooks, to: Option<&Novu>) {
    let sent = load::as_fast_as_possible(program.webhooks, connections, webhooks, WARM_UP);
    if let Some(novu) = to {
        novu.wait_for(sent.count);
    }
    // What was delivered is noted as well.
    thread::sleep(Duration::from_millis(100));
}

/// A server with its folder, both gone in the end.
pub struct Running {
    pub program: Program,
    _folder: Option<TempDir>,
}

pub type Figures = Vec<(&'static str, f64)>;

pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

pub fn store_in(folder: &Path) -> PathBuf {
    folder.join("deskbell.db")
}
