//! What the writer is asked to do, and who gets to know what came of it.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::group::Group;
use super::shared::lock;
use super::sql::Result;

/// Something to be done within a transaction; once more in another one, if the first has failed because of something else.
pub type Work = Box<dyn FnMut(&mut Group<'_>) -> Result<()> + Send>;

/// Where an answer goes, once.
pub type Reply<T> = Arc<Mutex<Option<oneshot::Sender<T>>>>;

/// A work, and what it answers once that is on disk.
pub fn with_answer<T, W>(mut work: W) -> (Work, oneshot::Receiver<T>)
where
    T: Send + 'static,
    W: FnMut(&mut Group<'_>) -> Result<T> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let reply = Arc::new(Mutex::new(Some(reply)));
    let work = move |group: &mut Group<'_>| {
        if !is_forgotten(group, &reply) {
            let answer = work(group)?;
            group.answer(&reply, answer);
        }
        Ok(())
    };
    (Box::new(work), answer)
}

/// The same work. What it answers is counted once that is on disk, and seen together with what it makes of the queue.
pub fn counted<T: Clone + 'static>(
    mut work: impl FnMut(&mut Group<'_>) -> Result<T>,
    count: impl Fn(&T) + Clone + 'static,
) -> impl FnMut(&mut Group<'_>) -> Result<T> {
    move |group| {
        let answer = work(group)?;
        let (count, shown) = (count.clone(), answer.clone());
        group.count(move || count(&shown));
        Ok(answer)
    }
}

/// Whoever has stopped waiting for a server was told that it is not done.
pub fn is_forgotten<T>(group: &Group<'_>, reply: &Reply<T>) -> bool {
    !group.transaction.is_alone() && lock(reply).as_ref().is_none_or(oneshot::Sender::is_closed)
}
