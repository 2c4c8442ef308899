//! Keys: that of an event says which deliveries are its own, so that no index has to.

/// So many bits of a delivery's key are its number within its event.
const BITS: u32 = 20;

/// The key of the delivery with this number among those of an event.
pub fn delivery(event: i64, number: usize) -> i64 {
    // More than fit would take a key that belongs to another event, which the table refuses.
    (event << BITS).saturating_add(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The first and last key that a delivery of an event can have.
pub fn deliveries(event: i64) -> (i64, i64) {
    (event << BITS, ((event + 1) << BITS) - 1)
}

/// Which event a delivery with this key is of, and the how manieth of it.
pub fn parts(delivery: i64) -> (i64, usize) {
    let event = delivery >> BITS;
    (event, usize::try_from(delivery - (event << BITS)).unwrap_or_default())
}

/// The keys of its deliveries within SQL, of the row of `events` at hand. With it goes `state + 0`, which fits no index:
/// PostgreSQL might take one for a short way, and look through all that it holds.
pub const OF_EVENT: &str = "deliveries.id BETWEEN events.id << 20 AND (events.id << 20) + 1048575";

/// A delivery that is not finished, within SQL: in the words of the index for it, of the file and of the server.
pub const UNFINISHED: &str = "state < 2 AND (state < 2) IS TRUE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_keys_of_its_own() {
        for event in [1, 2, 1 << 40] {
            let (first, last) = deliveries(event);
            assert_eq!((delivery(event, 0), delivery(event, 1_048_575)), (first, last));
            assert_eq!(last + 1, deliveries(event + 1).0);
            assert_eq!((parts(first), parts(last)), ((event, 0), (event, 1_048_575)));
        }
    }
}
