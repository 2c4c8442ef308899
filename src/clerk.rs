//! What we know of Clerk: its events, a sample of each, and whom an event is about.
//!
//! The facts come from Clerk's OpenAPI of webhook events (2025-04-15) and the types of `@clerk/backend`. The two
//! disagree in places and both grow, so nothing here refuses an event: what is missing or of another type is absent.

mod catalogue;
mod edit;
mod shape;
mod subscriber;

pub use catalogue::{Sample, event_types, hint_for_sample, is_event_type, nearest, sample, samples};
pub use edit::{set, unset};
pub use shape::{Reach, Shape, shape};
pub use subscriber::{
    Person, absent_facts, full_name, names_a_person, occurred_at, primary_email, primary_phone, subscriber,
};
