//! What Novu makes of its requests: its worker looks for the `transactionId`, and not at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::transaction_id;

/// The worker looks, and then writes: what comes twice within this time runs twice.
const LAG: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Judge {
    transactions: HashMap<String, Transaction>,
    /// Requests that came while another one of the same transaction was not over.
    pub overlaps: usize,
    /// Requests that the worker has dropped.
    pub duplicates: usize,
}

/// All requests of one `transactionId`.
#[derive(Debug)]
pub struct Transaction {
    pub workflow: String,
    /// The id of the webhook, from the payload.
    pub event: String,
    pub requests: usize,
    /// How often the workflow has run.
    pub runs: usize,
    ran_at: Option<Instant>,
    under_way: usize,
}

impl Judge {
    /// Requests with these events have come. How many came before with the first.
    pub fn begin(&mut self, events: &[Value]) -> usize {
        for event in events {
            let transaction = self.transactions.entry(transaction_id(event).to_owned());
            let transaction = transaction.or_insert_with(|| Transaction::of(event));
            self.overlaps += usize::from(transaction.under_way > 0);
            transaction.under_way += 1;
            transaction.requests += 1;
        }
        self.transaction(&events[0]).requests - 1
    }

    /// They are answered, or the gateway has gone.
    pub fn end(&mut self, events: &[Value]) {
        events.iter().for_each(|event| self.transaction(event).under_way -= 1);
    }

    /// The worker has them.
    pub fn run(&mut self, events: &[Value]) {
        for event in events {
            let transaction = self.transaction(event);
            if transaction.ran_at.is_some_and(|at| at.elapsed() >= LAG) {
                self.duplicates += 1;
            } else {
                transaction.ran_at = transaction.ran_at.or_else(|| Some(Instant::now()));
                transaction.runs += 1;
            }
        }
    }

    pub fn transactions(&self) -> impl ExactSizeIterator<Item = &Transaction> {
        self.transactions.values()
    }

    pub fn requests(&self) -> usize {
        self.transactions().map(|transaction| transaction.requests).sum()
    }

    /// Each of these events has run each of these workflows once, as one transaction; and nothing else has run.
    pub fn assert_once<'a>(&self, events: impl IntoIterator<Item = &'a String>, workflows: &[&str]) {
        let mut transactions: HashMap<(&str, &str), Vec<&Transaction>> = HashMap::new();
        for transaction in self.transactions() {
            transactions.entry((&transaction.event, &transaction.workflow)).or_default().push(transaction);
        }
        for event in events {
            for workflow in workflows {
                let known = transactions.remove(&(event.as_str(), *workflow)).unwrap_or_default();
                let runs: Vec<usize> = known.iter().map(|transaction| transaction.runs).collect();
                assert_eq!(runs, [1], "{workflow} of {event}: {known:?}");
            }
        }
        assert!(transactions.is_empty(), "nobody has sent this: {transactions:?}");
    }

    fn transaction(&mut self, event: &Value) -> &mut Transaction {
        self.transactions.get_mut(transaction_id(event)).expect("one that has begun")
    }
}

impl Transaction {
    /// When it ran first.
    pub fn ran_at(&self) -> Instant {
        self.ran_at.expect("it has run")
    }

    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            workflow: text(&event["name"]),
            event: text(&event["payload"]["event"]),
            requests: 0,
            runs: 0,
            ran_at: None,
            under_way: 0,
        }
    }
}
