//! What waits for the writer. It begins when everything that is ready to be written has come, so that many webhooks
//! share one write to disk.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::standing::Claim;
use super::work::Work;

/// So many works are worth a write, whatever else is about to come.
const ENOUGH: usize = 64;
/// Fewer webhooks than this are worth a write of their own.
const FEW: usize = 8;
/// The most that one transaction takes.
const GROUP: usize = 256;
/// How long a work that nobody is in a hurry for waits for others.
const LINGER: Duration = Duration::from_millis(20);

/// When a work is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Somebody waits for it.
    Now,
    /// With the next ones, if they are more than a few: those would wait for it.
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
    soon: Vec<Work>,
    /// It takes what is due as soon as something is.
    claim: Option<Claim>,
    /// Something is.
    claim_now: bool,
    /// The writer may begin.
    begin: bool,
    /// Somebody will say so before long.
    gathering: bool,
    lingering: bool,
    /// Since when the first of what can wait does so.
    lingers_since: Option<Instant>,
    closing: Option<oneshot::Sender<()>>,
    closed: bool,
}

impl Waiting {
    fn count(&self) -> usize {
        self.now.len() + self.soon.len()
    }
}

/// What the writer does next.
#[derive(Default)]
pub struct Group {
    pub works: Vec<Work>,
    /// A claim in which what comes may start.
    pub standing: Option<Claim>,
    /// So few that they are answered before anything else is done.
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
        if waiting.count() >= ENOUGH {
            self.begin(waiting);
        } else if haste == Haste::Now {
            self.gather(&mut waiting);
        } else {
            self.linger(&mut waiting);
        }
    }

    /// Lets the writer begin once what can wait has done so for long enough.
    fn linger(self: &Arc<Self>, waiting: &mut Waiting) {
        waiting.lingers_since.get_or_insert_with(Instant::now);
        if !std::mem::replace(&mut waiting.lingering, true) {
            let inbox = self.clone();
            tokio::spawn(async move {
                while let Some(until) = inbox.lingers_until() {
                    tokio::time::sleep_until(until).await;
                }
            });
        }
    }

    /// When to look again. None if that is over, and the writer may have begun.
    fn lingers_until(&self) -> Option<Instant> {
        let mut waiting = self.lock();
        let until = waiting.lingers_since.map(|since| since + LINGER);
        if until.is_some_and(|until| Instant::now() < until) {
            return until;
        }
        waiting.lingering = false;
        if until.is_some() {
            self.begin(waiting);
        }
        None
    }

    /// Has what is due taken once something is, or `now`. There is one claim at a time.
    pub fn put_claim(self: &Arc<Self>, claim: Claim, now: bool) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.claim = Some(claim);
        if now {
            waiting.claim_now = true;
            self.gather(&mut waiting);
        } else if waiting.claim_now {
            self.linger(&mut waiting);
        }
    }

    /// Puts back a claim that has come to nothing, because of something else.
    pub fn put_back(&self, mut claim: Claim, now: bool) {
        claim.reset();
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.claim = Some(claim);
        waiting.claim_now |= now;
        if waiting.claim_now {
            self.begin(waiting);
        }
    }

    /// Takes the claim back, if it has not begun.
    pub fn withdraw_claim(&self) -> bool {
        self.lock().claim.take().is_some()
    }

    /// The claim, if its time has come. What has become due is remembered for the next one otherwise.
    pub fn claim(&self, due: bool) -> Option<Claim> {
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
            self.begin(waiting);
        }
    }

    /// Closes the store once all that waits is written.
    pub fn close(&self, reply: Option<oneshot::Sender<()>>) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.closing = reply.or(waiting.closing.take());
        self.begin(waiting);
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
        let soon = if few { 0 } else { waiting.soon.len().min(GROUP - first) };
        let mut works: Vec<Work> = waiting.now.drain(..first).collect();
        works.extend(waiting.soon.drain(..soon));
        let is_last = waiting.count() == 0;
        // Just after a few webhooks is the time for what would be written before long.
        let lingers = few && !waiting.closed && waiting.lingers_since.is_none_or(|since| since.elapsed() < LINGER / 2);
        let is_due = few && waiting.claim_now && waiting.claim.is_some();
        waiting.begin = !waiting.now.is_empty() || is_due || !is_last && !lingers;
        if waiting.soon.is_empty() {
            waiting.lingers_since = None;
        }
        let standing = if few && !waiting.claim_now { waiting.claim.take() } else { None };
        let closed = waiting.closed && is_last;
        let closing = if closed { waiting.closing.take() } else { None };
        Some(Group { works, standing, few, abandoned: closed && closing.is_none(), closing })
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
            inbox.begin(waiting);
        });
    }

    fn begin(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.begin = true;
        // Whoever is woken needs it, and on one core is there before we go on.
        drop(waiting);
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

    fn claim() -> Claim {
        Claim::new(Vec::new(), 0).0
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_lets_a_few_webhooks_go_first() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Soon);
        assert_eq!(take(&inbox).await, None, "it waits for others");
        inbox.put(work(), Haste::Now);
        assert_eq!(take(&inbox).await, Some((1, true)));
        assert_eq!(take(&inbox).await, None);
        tokio::time::advance(LINGER).await;
        assert_eq!(take(&inbox).await, Some((1, false)));
    }

    #[tokio::test]
    async fn a_few_webhooks_may_start_in_the_claim_that_stands() {
        let inbox = Arc::new(Inbox::default());
        inbox.put_claim(claim(), false);
        inbox.put(work(), Haste::Now);
        let group = async {
            while !inbox.lock().begin {
                tokio::task::yield_now().await;
            }
            inbox.take(Duration::ZERO)
        };
        let group = group.await.expect("a group");
        assert!(group.few && group.standing.is_some());
        assert!(!inbox.withdraw_claim(), "it is about to be answered");
    }

    #[tokio::test]
    async fn what_is_due_goes_before_what_comes() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Now);
        inbox.put_claim(claim(), true);
        assert_eq!(take(&inbox).await, Some((1, true)));
        assert_eq!(take(&inbox).await, Some((0, false)));
        assert!(inbox.claim(false).is_some());
        inbox.put_claim(claim(), false);
        assert!(inbox.claim(false).is_none(), "nothing is due");
        inbox.something_due();
        assert_eq!(take(&inbox).await, Some((0, false)));
        assert!(inbox.claim(false).is_some());
        assert_eq!(take(&inbox).await, None);
    }

    #[tokio::test]
    async fn what_is_due_while_nobody_claims_is_there_for_the_next_claim() {
        let inbox = Arc::new(Inbox::default());
        assert!(inbox.claim(true).is_none());
        inbox.put_claim(claim(), false);
        inbox.put(work(), Haste::Now);
        assert_eq!(take(&inbox).await, Some((1, true)));
        assert_eq!(take(&inbox).await, Some((0, false)), "right behind them");
        assert!(inbox.claim(false).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_lingered_for_a_while_follows_a_few_webhooks_at_once() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Soon);
        assert_eq!(take(&inbox).await, None);
        tokio::time::advance(LINGER / 2).await;
        inbox.put(work(), Haste::Now);
        assert_eq!(take(&inbox).await, Some((1, true)));
        assert_eq!(take(&inbox).await, Some((1, false)));
    }

    #[tokio::test]
    async fn many_webhooks_share_a_write_with_all_that_waits() {
        let inbox = Arc::new(Inbox::default());
        inbox.put(work(), Haste::Soon);
        inbox.put(work(), Haste::Soon);
        (0..FEW).for_each(|_| inbox.put(work(), Haste::Now));
        assert_eq!(take(&inbox).await, Some((FEW + 2, false)));
    }
}
