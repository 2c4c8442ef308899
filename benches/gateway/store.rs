//! Stores that are full of something, made once and used again.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use deskbell::store::Store;
use deskbell::units::now;
use deskbell::verify::Event;
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::bench::store_in;
use crate::rules::Rules;
use crate::webhook::{Ids, USUAL, Webhooks};

/// Events that are on their way into a store at the same time.
const AT_ONCE: usize = 256;
const NO_LIMIT: u64 = 1 << 40;
/// The source of everything.
const SOURCE: &str = "clerk";
/// Nobody listens there. What waits is delivered by the rules that a gateway starts with.
const NOWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

/// What a store is full of.
#[derive(Clone, Copy)]
pub enum Full {
    /// So many events with a delivery each that is due.
    Waiting(usize),
    /// So many events that are delivered, and so many more of which only the id is left.
    Remembered { delivered: usize, forgotten: usize },
}

pub struct Stores {
    folder: PathBuf,
}

impl Stores {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The one store that is full of this, and filled up again if it was used.
    pub fn shared(&self, full: Full) -> PathBuf {
        let folder = self.folder.join(match full {
            Full::Waiting(count) => format!("waiting-{count}"),
            Full::Remembered { forgotten, .. } => format!("remembered-{forgotten}"),
        });
        let (store, is_new) = (store_in(&folder), fs::create_dir(&folder).is_ok());
        match full {
            Full::Waiting(count) => wait(&store, count),
            Full::Remembered { delivered, forgotten } if is_new => {
                wait(&store, delivered);
                forget(&store, forgotten);
            }
            Full::Remembered { .. } => {}
        }
        File::open(&store).and_then(|file| file.sync_all()).expect("a disk");
        store
    }
}

/// Accepts events, as the gateway does, until so many wait.
fn wait(store: &Path, count: usize) {
    let text = Rules::default().text(SocketAddr::from(NOWHERE));
    let rules = Compiled::of(text.as_bytes(), Outside::Optional).rules.expect("rules without errors");
    let mut webhooks = Webhooks::new(USUAL);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&format!("sqlite:{}", store.display()), now(), 0).expect("a store");
        let mut accepting = JoinSet::new();
        for _ in store.queue().waiting()..count as i64 {
            if accepting.len() == AT_ONCE {
                accepting.join_next().await.expect("one of them").expect("it is kept");
            }
            let (id, body) = webhooks.unsigned();
            let event = Event::kept(SOURCE, &id, body, now()).expect("JSON");
            let decision = rules.decide(&event);
            let store = store.clone();
            accepting.spawn(async move { store.accept(&event, &decision, NO_LIMIT).await.expect("it is kept") });
        }
        accepting.join_all().await;
        store.close().await;
    });
}

/// Makes everything delivered, and adds so many ids of events that were erased.
fn forget(store: &Path, count: usize) {
    let mut store = Connection::open(store).expect("the store");
    store
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        .expect("haste");
    let transaction = store.transaction().expect("a transaction");
    let moment = now();
    transaction.execute("UPDATE deliveries SET state = 2, attempts = 1, ended_at = ?1", [moment]).expect("deliveries");
    let (mut ids, mut insert) = (
        Ids::new(),
        transaction
            .prepare("INSERT INTO remembered (event_id, source, received_at) VALUES (?1, ?2, ?3)")
            .expect("a table"),
    );
    // A month of events, the newest a day ago.
    let (from, to) = (moment - 31 * 86_400_000, moment - 86_400_000);
    for number in 0..count as i64 {
        let received_at = from + (to - from) / count as i64 * number;
        insert.execute((format!("msg_{}", ids.next(received_at)), SOURCE, received_at)).expect("a row");
    }
    drop(insert);
    transaction.commit().expect("the disk");
}
