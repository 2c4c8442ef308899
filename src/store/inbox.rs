//! What waits for the writer. It begins when everything that is ready to be written has come, so that many webhooks
//! share one write to disk.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::writer::Work;

/// So many works are worth a write, whatever else is about to come.
const ENOUGH: usize = 64;
/// Fewer webhooks than this are worth a write of their own.
const FEW: usize = 8;
/// The most that one transaction takes.
const GROUP: usize = 256;
/// How long a work waits for others that nobody is in a hurry for either.
const LINGER: Duration = Duration::from_millis(5);

/// When a work is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Somebody waits for it.
    Now,
    /// With the next ones.
    Soon,
}

#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// What somebody waits for.
    now: Vec<Work>,
    /// What is written with the next ones.
    soon: Vec<Work>,
    /// What is to be done as soon as something is due: it takes what is due.
    claim: Option<Work>,
    /// The claim is not to wait for that.
    claim_now: bool,
    /// The writer may begin.
    begin: bool,
    /// Somebody will say so before long.
    gathering: bool,
    lingering: bool,
    /// How often the writer has taken what could wait.
    taken: u64,
    closing: Option<oneshot::Sender<()>>,
    closed: bool,
}

/// What the writer does next.
#[derive(Default)]
pub struct Group {
    pub works: Vec<Work>,
    /// So few that they are answered before anything else is done: what could wait, and what they make due.
    pub few: bool,
    /// It is the last one.
    pub closing: Option<oneshot::Sender<()>>,
    /// Nobody has a handle to the store any more.
    pub abandoned: bool,
}

impl Inbox {
    /// Has something written. It is dropped if the store is closed.
    pub fn put(self: &Arc<Self>, work: Work, haste: Haste) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        match haste {
            Haste::Now => waiting.now.push(work),
            Haste::Soon => waiting.soon.push(work),
        }
        if waiting.now.len() + waiting.soon.len() >= ENOUGH {
            self.begin(&mut waiting);
        } else if haste == Haste::Now {
            self.gather(&mut waiting);
        } else if !waiting.gathering && !std::mem::replace(&mut waiting.lingering, true) {
            tokio::spawn(self.clone().linger(waiting.taken));
        }
    }

    /// Lets the writer begin once something has waited for long enough that nobody is in a hurry for.
    async fn linger(self: Arc<Self>, mut taken: u64) {
        loop {
            tokio::time::sleep(LINGER).await;
            let mut waiting = self.lock();
            if waiting.soon.is_empty() || waiting.taken == taken {
                waiting.lingering = false;
                if !waiting.soon.is_empty() {
                    self.begin(&mut waiting);
                }
                return;
            }
            taken = waiting.taken;
        }
    }

    /// Has something done once something is due, or `now`. There is one at a time.
    pub fn put_claim(self: &Arc<Self>, work: Work, now: bool) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.claim = Some(work);
        waiting.claim_now |= now;
        if waiting.claim_now {
            self.gather(&mut waiting);
        }
    }

    /// Takes the claim back, if it has not begun.
    pub fn withdraw_claim(&self) -> bool {
        self.lock().claim.take().is_some()
    }

    /// The claim, if its time has come. What has become due is remembered for the next one otherwise.
    pub fn claim(&self, due: bool) -> Option<Work> {
        let mut waiting = self.lock();
        waiting.claim_now |= due;
        let claim = waiting.claim_now.then(|| waiting.claim.take()).flatten();
        waiting.claim_now &= claim.is_none();
        claim
    }

    /// Something has become due, and no claim has looked.
    pub fn something_due(self: &Arc<Self>) {
        let mut waiting = self.lock();
        waiting.claim_now = true;
        if waiting.claim.is_some() {
            self.begin(&mut waiting);
        }
    }

    /// Closes the store once all that waits is written.
    pub fn close(&self, reply: Option<oneshot::Sender<()>>) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.closing = reply.or(waiting.closing.take());
        self.begin(&mut waiting);
    }

    /// What is to be written together; none if nothing is, for as long as `patience`.
    pub fn take(&self, patience: Duration) -> Option<Group> {
        let waiting = self.lock();
        let waited = self.ready.wait_timeout_while(waiting, patience, |waiting| !waiting.begin);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut waiting.begin, false) {
            return None;
        }
        let first = waiting.now.len().min(GROUP);
        let few = (1..FEW).contains(&first);
        let then = if few { 0 } else { waiting.soon.len().min(GROUP - first) };
        let mut works: Vec<Work> = waiting.now.drain(..first).collect();
        works.extend(waiting.soon.drain(..then));
        waiting.taken += u64::from(!few);
        let is_last = waiting.now.is_empty() && waiting.soon.is_empty();
        waiting.begin = !is_last || few && waiting.claim_now && waiting.claim.is_some();
        let closed = waiting.closed && is_last;
        let closing = if closed { waiting.closing.take() } else { None };
        Some(Group { works, few, abandoned: closed && closing.is_none(), closing })
    }

    /// Lets the writer begin once all tasks that are ready have run: they may have something to write too.
    fn gather(self: &Arc<Self>, waiting: &mut Waiting) {
        if waiting.begin || std::mem::replace(&mut waiting.gathering, true) {
            return;
        }
        let inbox = self.clone();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            let mut waiting = inbox.lock();
            waiting.gathering = false;
            inbox.begin(&mut waiting);
        });
    }

    fn begin(&self, waiting: &mut Waiting) {
        waiting.begin = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Box::new(|_| Ok(()))
    }

    /// What the writer takes once all tasks have run: how many works, and whether they are few.
    async fn take(inbox: &Inbox) -> Option<(usize, bool)> {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        inbox.take(Duration::ZERO).map(|group| (group.works.len(), group.few))
    }

    #[tokio::test]
    async fn what_can_wait_and_what_is_claimed_follow_a_few_webhooks_at_once() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Soon);
        assert_eq!(take(&inbox).await, None, "it waits for others");
        inbox.put_claim(work(), false);
        inbox.put(work(), Haste::Now);
        assert_eq!(take(&inbox).await, Some((1, true)));
        assert_eq!(take(&inbox).await, Some((1, false)));
        assert!(inbox.claim(false).is_none(), "nothing is due");
        inbox.something_due();
        assert_eq!(take(&inbox).await, Some((0, false)));
        assert!(inbox.claim(false).is_some());
        assert_eq!(take(&inbox).await, None);
    }

    #[tokio::test]
    async fn a_claim_that_is_not_to_wait_is_not_forgotten_when_a_webhook_comes() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Now);
        inbox.put_claim(work(), true);
        assert_eq!(take(&inbox).await, Some((1, true)));
        assert_eq!(take(&inbox).await, Some((0, false)));
        assert!(inbox.claim(false).is_some());
    }

    #[tokio::test]
    async fn what_is_due_while_nobody_claims_is_there_for_the_next_claim() {
        let inbox = Arc::new(Inbox::default());
        assert!(inbox.claim(true).is_none());
        inbox.put_claim(work(), false);
        assert_eq!(take(&inbox).await, Some((0, false)));
        assert!(inbox.claim(false).is_some());
    }

    #[tokio::test]
    async fn many_webhooks_share_a_write_with_all_that_waits() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Soon);
        (0..FEW).for_each(|_| inbox.put(work(), Haste::Now));
        assert_eq!(take(&inbox).await, Some((FEW + 1, false)));
    }
}
