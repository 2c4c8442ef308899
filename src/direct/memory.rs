//! What was done for the events of the last day or two: bounded, and gone with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use crate::units::Millis;

/// Svix tries for 28 hours, with at most 10 between two tries. Each puts its event among the young again.
const GENERATION: Millis = 24 * 60 * 60 * 1000;
/// The most events and unfinished deliveries of a generation. One takes about 300 bytes.
const MOST: usize = 50_000;

/// Events by source and id, in two generations: when the young are too many or too old, the old are forgotten.
#[derive(Default)]
pub struct Memory(Mutex<Generations>);

type Event = (Arc<str>, String);

#[derive(Default)]
struct Generations {
    young: HashMap<Event, Arc<AsyncMutex<Known>>>,
    old: HashMap<Event, Arc<AsyncMutex<Known>>>,
    /// Of the young: events, and what is remembered of their deliveries.
    weight: usize,
    begun_at: Millis,
}

/// What is remembered of an event. Who holds it works on the event.
#[derive(Default)]
pub struct Known {
    /// When it came for the first time.
    pub accepted_at: Option<Millis>,
    /// Nothing is left to do.
    pub decided: Option<Decided>,
    /// By transaction id, until nothing is left to do.
    tried: HashMap<String, Tried>,
}

pub struct Decided {
    pub routes: Vec<Arc<str>>,
    pub revision: String,
}

/// What is remembered of a delivery.
#[derive(Clone, Copy, Default)]
pub struct Tried {
    /// Delivered, or expired.
    pub done: bool,
    /// Attempts that Novu has definitely failed.
    pub definite_errors: u32,
    /// Before, an attempt might overlap with the last one.
    pub due: Millis,
}

impl Memory {
    pub fn of(&self, source: &Arc<str>, id: &str, now: Millis) -> Arc<AsyncMutex<Known>> {
        let mut generations = self.lock();
        if generations.weight >= MOST || now - generations.begun_at >= GENERATION {
            generations.turn_over(now);
        }
        let event = (source.clone(), id.to_owned());
        if let Some(known) = generations.young.get(&event) {
            return known.clone();
        }
        let known = generations.old.remove(&event).unwrap_or_default();
        generations.weight += 1;
        generations.young.insert(event, known.clone());
        known
    }

    /// So many deliveries were remembered, or remembered anew.
    pub fn weigh(&self, more: usize) {
        self.lock().weight += more;
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn turn_over(&mut self, now: Millis) {
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        // Somebody works on these.
        self.old.extend(forgotten.into_iter().filter(|(_, known)| Arc::strong_count(known) > 1));
        self.weight = 0;
        self.begun_at = now;
    }
}

impl Known {
    pub fn tried(&self, transaction_id: &str) -> Tried {
        self.tried.get(transaction_id).copied().unwrap_or_default()
    }

    pub fn remember(&mut self, transaction_id: String, tried: Tried) {
        self.tried.insert(transaction_id, tried);
    }

    pub fn weight(&self) -> usize {
        self.tried.len()
    }

    /// Nothing is left to do: what is remembered of deliveries is not needed any more.
    pub fn complete(&mut self, decided: Decided) {
        self.tried = HashMap::new();
        self.decided = Some(decided);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(memory: &Memory, id: &str, now: Millis) {
        let known = memory.of(&"clerk".into(), id, now);
        let decided = Decided { routes: Vec::new(), revision: "1".to_owned() };
        known.try_lock().expect("nobody works on it").complete(decided);
    }

    fn is_known(memory: &Memory, id: &str, now: Millis) -> bool {
        memory.of(&"clerk".into(), id, now).try_lock().expect("nobody works on it").decided.is_some()
    }

    #[test]
    fn an_event_is_remembered_for_a_day_after_it_came_last() {
        let memory = Memory::default();
        complete(&memory, "msg_1", GENERATION);
        complete(&memory, "msg_2", GENERATION);
        assert!(is_known(&memory, "msg_1", 2 * GENERATION - 1));
        assert!(is_known(&memory, "msg_1", 2 * GENERATION));
        assert!(is_known(&memory, "msg_1", 3 * GENERATION));
        assert!(!is_known(&memory, "msg_2", 3 * GENERATION), "two days later it is forgotten");
        assert!(!is_known(&memory, "msg_3", 3 * GENERATION));
    }

    #[test]
    fn the_same_id_of_another_source_is_another_event() {
        let memory = Memory::default();
        complete(&memory, "msg_1", GENERATION);
        assert!(memory.of(&"staging".into(), "msg_1", GENERATION).try_lock().expect("it").decided.is_none());
    }

    #[test]
    fn the_number_of_events_is_bounded_and_what_is_worked_on_stays() {
        let memory = Memory::default();
        let worked_on = memory.of(&"clerk".into(), "msg_0", GENERATION);
        let held = worked_on.try_lock().expect("nobody works on it");
        for number in 1..3 * MOST {
            complete(&memory, &format!("msg_{number}"), GENERATION);
            let generations = memory.lock();
            assert!(generations.young.len() + generations.old.len() <= 2 * MOST + 1);
        }
        assert!(Arc::ptr_eq(&worked_on, &memory.of(&"clerk".into(), "msg_0", GENERATION)));
        drop(held);
        memory.weigh(MOST);
        complete(&memory, "msg_again", GENERATION);
        assert_eq!(memory.lock().young.len(), 1, "deliveries count");
    }
}
