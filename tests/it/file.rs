//! What is about the file alone: who owns it, what stands in it byte by byte, and what is wrong with it.

mod bounds;
mod crash;
mod delivery;
mod retention;
mod waiting;
