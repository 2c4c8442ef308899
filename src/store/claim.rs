//! Who goes next.

use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::group::Group;
use super::inbox::Inbox;
use super::postgres::batch;
use super::sql::{Connection, Result, Row, values};
use super::{Pause, steer};
use crate::render::Priority;
use crate::units::Millis;

/// The most deliveries that one look lays aside because they are paused.
const MOST_PAUSED: usize = 1_000;

/// A delivery that this process, and nobody else, is to attempt now.
#[derive(Debug)]
pub struct Claimed {
    pub(super) id: i64,
    /// The key of its event.
    pub(super) event: i64,
    pub event_id: String,
    pub source: Arc<str>,
    pub route: Arc<str>,
    pub transaction_id: String,
    /// This attempt included.
    pub attempts: u32,
    /// Attempts that Novu has definitely failed.
    pub definite_errors: u32,
    /// The sum of the pauses that failed attempts have cost.
    pub waited: Millis,
    pub accepted_at: Millis,
    pub expires_at: Option<Millis>,
    /// The body for Novu.
    pub request: Vec<u8>,
    /// Only the store can make one.
    pub(super) seal: PhantomData<()>,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Calls to Novu.
    pub calls: usize,
    /// One of the calls may take many deliveries.
    pub bulk: Option<BulkRoom>,
    /// Nothing is due that would have to go before what comes now.
    pub fresh: bool,
    /// One call alone, for what has been due for longest, however urgent: so that each gets to show that Novu can be used.
    pub probe: bool,
}

/// What may go in one call. What is urgent goes alone, and so does what was attempted before and may have been done
/// or turned down for the sake of another: so that it makes its way.
#[derive(Clone, Copy, Debug)]
pub struct BulkRoom {
    /// If fewer are due, they go alone.
    pub least: usize,
    /// If more are due, they wait. Where it is 0, all of them wait for a call that may not be made yet.
    pub most: usize,
    /// Of requests.
    pub bytes: usize,
}

/// Deliveries to attempt, and when the next ones are due.
#[derive(Debug, Default)]
pub struct Claims {
    /// Each for a call of its own.
    pub claimed: Vec<Claimed>,
    /// For one call.
    pub bulk: Vec<Claimed>,
    pub next_due: NextDue,
}

/// When the next deliveries are due, as far as a claim has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextDue {
    /// It has not looked: nothing was due before, and what came has started.
    #[default]
    AsBefore,
    /// There may be more that is due now.
    Now,
    At(Millis),
    /// Not before something comes.
    Never,
}

impl Claims {
    /// Whether it has looked for what is due.
    pub fn has_looked(&self) -> bool {
        self.next_due != NextDue::AsBefore
    }

    /// To Novu.
    pub fn calls(&self) -> usize {
        self.claimed.len() + usize::from(!self.bulk.is_empty())
    }
}

/// A claim that waits for something to become due.
pub struct Claiming {
    claims: oneshot::Receiver<Vec<Claims>>,
    inbox: Arc<Inbox>,
}

impl Claiming {
    pub(super) fn new(claims: oneshot::Receiver<Vec<Claims>>, inbox: Arc<Inbox>) -> Self {
        Self { claims, inbox }
    }

    /// What each of the offers has got. None if the store cannot be written. It can be asked for again and again.
    pub async fn claims(&mut self) -> Option<Vec<Claims>> {
        (&mut self.claims).await.ok()
    }

    /// Takes it back, if nothing has been claimed yet.
    ///
    /// # Errors
    /// It is too late: there are claims.
    pub fn withdraw(self) -> std::result::Result<(), Self> {
        if self.inbox.withdraw_claim() { Ok(()) } else { Err(self) }
    }
}

/// A delivery that is due.
pub struct Due {
    pub id: i64,
    pub source: Arc<str>,
    pub route: String,
    due_at: Millis,
    pub attempts: i64,
    /// It may have been done before, or was turned down for the sake of another.
    alone: bool,
    bytes: usize,
}

/// What there is room for, of these sources.
#[derive(Clone, Debug)]
pub struct Offer {
    pub sources: Vec<Arc<str>>,
    pub room: Room,
}

/// Takes what is due and has room, the most urgent first: for so many calls together.
pub fn claim(group: &mut Group<'_>, offers: &[Offer], mut calls: usize, now: Millis) -> Result<Vec<Claims>> {
    let pauses = steer::pauses(&group.transaction)?;
    let claim = |offer: &Offer| {
        if calls == 0 {
            return Ok(Claims { next_due: NextDue::Now, ..Claims::default() });
        }
        let look = Look { sources: &offer.sources, pauses: &pauses, now, paused: 0 };
        let claims = claim_one(group, look, Room { calls: offer.room.calls.min(calls), ..offer.room })?;
        calls -= claims.calls();
        Ok(claims)
    };
    offers.iter().map(claim).collect()
}

fn claim_one(group: &mut Group<'_>, mut look: Look<'_>, room: Room) -> Result<Claims> {
    let mut claims = Claims::default();
    if room.probe {
        let longest = look.longest_due(group)?;
        claims.next_due = look.next_due(group, longest.is_none())?;
        claims.claimed = take(group, longest.as_slice())?;
        return Ok(claims);
    }
    let mut single = look.due(group, &[Priority::High], room.calls)?;
    let calls = room.calls - single.len();
    let looked_at = calls.max(room.bulk.filter(|_| calls > 0).map_or(0, |bulk| bulk.least.max(bulk.most)));
    let mut others = look.due(group, &[Priority::Normal, Priority::Low], looked_at)?;
    let mut all = calls > 0 && others.len() < looked_at;
    match room.bulk.and_then(|bulk| for_one_call(&others, bulk)) {
        Some(count) => {
            all &= count == others.len();
            claims.bulk = take(group, &others[..count])?;
        }
        None => {
            all &= others.len() <= calls;
            others.truncate(calls);
            single.extend(others);
        }
    }
    claims.claimed = take(group, &single)?;
    claims.next_due = look.next_due(group, all)?;
    Ok(claims)
}

/// How many of these go together, if any should.
fn for_one_call(others: &[Due], bulk: BulkRoom) -> Option<usize> {
    let mut bytes = 0;
    let fits = others.iter().take_while(|due| {
        bytes += due.bytes;
        !due.alone && bytes <= bulk.bytes
    });
    let count = fits.count();
    (count >= bulk.least).then_some(count.min(bulk.most))
}

/// What one claim looks through.
struct Look<'a> {
    sources: &'a [Arc<str>],
    pauses: &'a [Pause],
    now: Millis,
    /// How many deliveries it has laid aside.
    paused: usize,
}

impl<'a> Look<'a> {
    /// What is due, in the order of these priorities. What is paused is laid aside.
    fn due(&mut self, group: &mut Group<'_>, priorities: &[Priority], most: usize) -> Result<Vec<Due>> {
        self.due_in(group, &self.lanes(priorities), most)
    }

    fn due_in(&mut self, group: &mut Group<'_>, lanes: &[Lane<'_>], most: usize) -> Result<Vec<Due>> {
        // What is laid aside makes room for others: then it is looked again.
        loop {
            let due = due(group, lanes, self.now, most)?;
            let count = due.len();
            let holds = |due: &Due| self.pauses.iter().any(|pause| pause.holds(&due.route, &due.source));
            let (paused, open): (Vec<Due>, Vec<Due>) = due.into_iter().partition(holds);
            self.paused += paused.len();
            for due in &paused {
                lay_aside(group, due)?;
            }
            if paused.is_empty() || count < most || self.paused >= MOST_PAUSED {
                return Ok(open);
            }
        }
    }

    /// What has been due for longest, whatever its priority and source.
    fn longest_due(&mut self, group: &mut Group<'_>) -> Result<Option<Due>> {
        let mut found = Vec::new();
        for lane in self.lanes(&Priority::ALL) {
            found.extend(self.due_in(group, &[lane], 1)?);
        }
        Ok(found.into_iter().min_by_key(|due| due.due_at))
    }

    /// In the order of these priorities.
    fn lanes(&self, priorities: &[Priority]) -> Vec<Lane<'a>> {
        let sources = self.sources;
        priorities.iter().flat_map(|priority| sources.iter().map(|source| (*priority, source))).collect()
    }

    /// When to look again, once all that is due was found, or laid aside as far as one look goes.
    fn next_due(&self, group: &Group<'_>, all: bool) -> Result<NextDue> {
        match (self.paused >= MOST_PAUSED, all) {
            (true, _) => Ok(NextDue::At(self.now)),
            (false, true) => {
                let next = next_due(&group.transaction, &self.lanes(&Priority::ALL), self.now)?;
                Ok(next.map_or(NextDue::Never, NextDue::At))
            }
            (false, false) => Ok(NextDue::Now),
        }
    }
}

/// What the deliveries of one priority and source wait in.
pub type Lane<'a> = (Priority, &'a Arc<str>);

fn due(group: &Group<'_>, lanes: &[Lane<'_>], now: Millis, most: usize) -> Result<Vec<Due>> {
    if let Connection::Postgres(session) = group.transaction {
        return batch::due(session, lanes, now, most);
    }
    let sql = "SELECT id, route, due_at, attempts, alone, length(request) FROM deliveries
         WHERE state = 0 AND source = ?1 AND priority = ?2 AND due_at <= ?3 ORDER BY due_at LIMIT ?4";
    let mut found = Vec::new();
    for (priority, source) in lanes {
        let values = values![&***source, *priority as i64, now, (most - found.len()) as i64];
        found.extend(group.transaction.query(sql, values, |row| due_of(row, source))?);
    }
    Ok(found)
}

/// What is known of a delivery that is due.
pub fn due_of(row: &Row<'_>, source: &Arc<str>) -> Result<Due> {
    Ok(Due {
        id: row.get(0)?,
        source: source.clone(),
        route: row.get(1)?,
        due_at: row.get(2)?,
        attempts: row.get(3)?,
        alone: row.get(4)?,
        bytes: row.get::<Option<i32>>(5)?.unwrap_or_default().unsigned_abs() as usize,
    })
}

/// A pause keeps it back: it is out of the way of what is due until that ends.
fn lay_aside(group: &Group<'_>, due: &Due) -> Result<()> {
    group.transaction.execute("UPDATE deliveries SET state = -1 WHERE id = ?1", values![due.id]).map(drop)
}

fn take(group: &mut Group<'_>, due: &[Due]) -> Result<Vec<Claimed>> {
    if let Connection::Postgres(session) = group.transaction {
        return batch::take_all(group, session, due);
    }
    // Both in one, with `RETURNING`, would make SQLite copy each page for the case that it fails half-way.
    let look = "SELECT event, transaction_id, attempts + 1, definite_errors, waited, expires_at, request, event_id, received_at
         FROM deliveries JOIN events ON events.id = event WHERE deliveries.id = ?1";
    let take = "UPDATE deliveries SET state = 1, attempts = attempts + 1 WHERE id = ?1";
    let mut taken = Vec::with_capacity(due.len());
    for due in due {
        taken.extend(group.transaction.first(look, values![due.id], |row| claimed(row, due))?);
        group.transaction.execute(take, values![due.id])?;
        group.change.wait(due.attempts, -1);
        group.change.sending += 1;
    }
    Ok(taken)
}

/// What is known of a delivery that was due, and has just been taken.
pub fn claimed(row: &Row<'_>, due: &Due) -> Result<Claimed> {
    Ok(Claimed {
        id: due.id,
        source: due.source.clone(),
        route: (&*due.route).into(),
        event: row.get(0)?,
        transaction_id: row.get(1)?,
        attempts: count(row.get(2)?),
        definite_errors: count(row.get(3)?),
        waited: row.get(4)?,
        expires_at: row.get(5)?,
        request: row.get::<Option<_>>(6)?.unwrap_or_default(),
        event_id: row.get(7)?,
        accepted_at: row.get(8)?,
        seal: PhantomData,
    })
}

fn count(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

/// When the next one is due, after this moment: what was due before has just been taken, and still stands in the index.
fn next_due(connection: &Connection<'_>, lanes: &[Lane<'_>], now: Millis) -> Result<Option<Millis>> {
    if let Connection::Postgres(session) = connection {
        return batch::next_due(session, lanes, now);
    }
    let sql = "SELECT min(due_at) FROM deliveries WHERE state = 0 AND source = ?1 AND priority = ?2 AND due_at > ?3";
    let mut earliest: Option<Millis> = None;
    for (priority, source) in lanes {
        let due = connection.first(sql, values![&***source, *priority as i64, now], |row| row.get(0))?.flatten();
        earliest = [earliest, due].into_iter().flatten().min();
    }
    Ok(earliest)
}

impl Priority {
    /// The order in which deliveries are claimed.
    const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
}
