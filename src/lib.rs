//! Deskbell: a signed Clerk webhook becomes a Novu trigger, by rules in one file.
//!
//! # The path of an event
//!
//! ```text
//! request ─receive─▶ Received ─verify─▶ Event ─route─▶ wanted by ─render─▶ [Delivery]
//!                                                                              │
//!     200 ◀── Receipt ◀── store (one transaction: the event once, its deliveries)
//!                           │ due
//!              deliver ◀── claim ── Claimed ──▶ novu ──▶ Outcome ──▶ store (done | again at | dead)
//!                           │
//!              observe ◀─── every arrow counts itself once
//! ```
//!
//! With `--store none` there is no store on the path: [`direct`] makes the Novu calls before the 200.
//!
//! Two functions hold an event's whole life: [`receive::receive`] and `deliver_next` in [`deliver`].
//!
//! # What always holds
//!
//! - **Render before store.** A delivery holds the finished Novu request. A reload never changes what
//!   was promised, and delivering knows nothing of rules.
//! - **The unique index decides** what is a duplicate, in the transaction that stores the deliveries.
//! - **One snapshot per event.** An event is decided by one revision, whole.
//! - **Level-triggered.** The worker says what it has room for; whatever makes something due is followed by a
//!   look at what is due, in the store and under the rules of the queue, not by a hand-over.
//! - **Written together.** One thread writes. It begins when all that is ready has come, so that many
//!   webhooks share one commit; how attempts ended rides along.
//! - **The middle is pure.** verify, route and render take the time as an argument and do no IO.
//! - **Trust is a type.** Only [`verify`] makes an event of a request; only [`store`] hands out a
//!   claimed delivery.
//! - **Bounded.** Whatever a file of rules holds, reading it, testing it and rendering an event with it
//!   take little time and memory. What the store keeps has an end, and webhooks are refused before its disk
//!   is full.
//! - **What failed is kept.** [`replay`] takes an event through today's rules and keeps transaction ids:
//!   what failed is mended, and what was delivered is never doubled.
//! - **Two listeners.** Webhooks face the internet; metrics, health and the API do not.
//! - Nothing logs, labels or echoes a body, an address, a code, a link or a secret.
//!
//! # Words
//!
//! **source**: where webhooks come from · **event**: one verified webhook · **route**: a rule of the
//! file · **delivery**: one rendered Novu call on its way · **attempt**: one try of a delivery ·
//! **outcome**: how it ended · **revision**: which version of the file decided · **hold**: a Novu key goes
//! unused but for a probe now and then · **pause**: the operator keeps deliveries back.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

// The path, in the order in which an event takes it.
pub mod receive;
pub mod verify;

pub mod jsonpath;
pub mod route;

pub mod render;
pub mod template;

pub mod store;

pub mod deliver;

pub mod direct;

pub mod observe;

// What steers it.
pub mod compiled;
pub mod config;
pub mod keys;
pub mod lint;
pub mod mount;
pub mod outside;
pub mod problem;
pub mod rules;
pub mod settings;
pub mod suite;
pub mod watcher;

// What it knows of the world.
pub mod clerk;
pub mod novu;
pub mod units;

// What looks, and sends nothing.
pub mod explain;
pub mod schema;

// What sends again.
pub mod replay;

// What runs it.
pub mod admin;
pub mod cli;
pub mod http;
pub mod server;
pub mod upkeep;
pub mod webhooks;
