//! `deskbell samples`: the catalogue of Clerk's events.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, print, print_json, sample};
use crate::clerk;

/// List Clerk's events, or print a sample of one
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell samples email.created/magic_link_sign_in")]
pub struct Samples {
    /// An event type, or type/variant
    name: Option<String>,
}

impl Samples {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.name {
            Some(name) => print_json(&sample(&name)?),
            None => clerk::samples().for_each(|sample| print(&format!("{}\n", sample.name))),
        }
        Ok(ExitCode::SUCCESS)
    }
}
