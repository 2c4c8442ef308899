//! `deskbell schema`: what an editor has to know of `routes.yaml`.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, print_json};
use crate::schema::schema;

/// Print the JSON Schema of routes.yaml, for editors
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell schema > routes.schema.json\n\n\
                  An editor with the YAML language server finds it by the first line of routes.yaml:\n  \
                  # yaml-language-server: $schema=routes.schema.json")]
pub struct Schema {}

impl Schema {
    pub fn run(self) -> Result<ExitCode, Failure> {
        print_json(&schema());
        Ok(ExitCode::SUCCESS)
    }
}
