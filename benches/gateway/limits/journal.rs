//! Answers when the webhook is on disk, and triggers the workflow later: what it costs to lose nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use hyper::body::Bytes;
use tokio::sync::{Mutex, mpsc as queue, oneshot};
use tokio::task::spawn_local;

use super::Start;
use super::novu::Connection;
use super::server::{Webhook, on_one_thread, serve};

/// Calls to Novu at the same time.
const CALLS: usize = 32;
/// It is used again and again: a file that grows takes twice as long to reach the disk.
const SIZE: u64 = 64 << 20;

/// What is to be on disk, and who waits for that.
type Entry = (Bytes, oneshot::Sender<()>);

pub fn run(Start { webhooks, novu, folder }: Start) {
    let file = journal(&folder);
    let (entries, receiver) = mpsc::channel();
    thread::spawn(move || write_groups(&file, &receiver));
    on_one_thread(async move {
        let (later, waiting) = queue::unbounded_channel();
        let waiting = Rc::new(Mutex::new(waiting));
        for _ in 0..CALLS {
            spawn_local(deliver(Connection::to(novu).await, waiting.clone()));
        }
        serve(webhooks, async || {
            let (entries, later) = (entries.clone(), later.clone());
            async move |webhook: Webhook| {
                let (written, is_written) = oneshot::channel();
                entries.send((webhook.body.clone(), written)).expect("a writer");
                is_written.await.expect("a disk");
                later.send(webhook).expect("who delivers");
            }
        })
        .await;
    });
}

/// A file that is all there.
fn journal(folder: &Path) -> File {
    let file = File::create(folder.join("journal")).expect("a file");
    let zeros = vec![0; 1 << 20];
    (0..SIZE >> 20).for_each(|part| file.write_all_at(&zeros, part << 20).expect("room on the disk"));
    file.sync_all().expect("a disk");
    file
}

/// Writes all that waits, and waits for the disk once.
fn write_groups(file: &File, entries: &mpsc::Receiver<Entry>) {
    let (mut group, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
    while let Ok(first) = entries.recv() {
        group.push(first);
        group.extend(entries.try_iter());
        bytes.clear();
        for (body, _) in &group {
            bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
            bytes.extend_from_slice(body);
        }
        if at + bytes.len() as u64 > SIZE {
            at = 0;
        }
        file.write_all_at(&bytes, at).expect("room on the disk");
        at += bytes.len() as u64;
        file.sync_data().expect("a disk");
        for (_, written) in group.drain(..) {
            // That whoever sent it has gone is no matter.
            let _ = written.send(());
        }
    }
}

async fn deliver(mut novu: Connection, waiting: Rc<Mutex<queue::UnboundedReceiver<Webhook>>>) {
    loop {
        let Some(webhook) = waiting.lock().await.recv().await else { return };
        novu.trigger(&webhook).await;
    }
}
