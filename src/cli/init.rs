//! `deskbell init`: a first file of rules, to be edited.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, RoutesArgument, own_name, print};
use crate::clerk;
use crate::schema::schema;

/// What an editor with the YAML language server is to know stands beside the rules, under this name.
const SCHEMA: &str = "routes.schema.json";

/// Write a commented file of rules to start from, never over an existing one
#[derive(Args)]
#[command(after_help = "Examples:\n  deskbell init\n  deskbell init welcome")]
pub struct Init {
    /// Rules for one purpose, as `--list` names them [default: a bit of everything]
    preset: Option<String>,
    /// List the presets
    #[arg(long, conflicts_with = "preset")]
    list: bool,
    #[command(flatten)]
    routes: RoutesArgument,
}

/// A folder of `examples/`.
struct Preset {
    name: &'static str,
    /// A sample that it wants, as `explain` takes it.
    sample: &'static str,
    rules: &'static str,
}

macro_rules! presets {
    ($($name:literal: $sample:literal)*) => {
        &[$(Preset {
            name: $name,
            sample: $sample,
            rules: include_str!(concat!("../../examples/", $name, "/routes.yaml")),
        }),*]
    };
}

const PRESETS: &[Preset] = presets! {
    "welcome": "user.created"
    "auth-emails": "email.created/magic_link_sign_in"
    "novu-clerk-guide": "session.created"
    "sms": "sms.created/reset_password"
    "organization-membership": "organizationMembership.created"
    "billing": "subscriptionItem.freeTrialEnding"
};
const A_BIT_OF_EVERYTHING: Preset =
    Preset { name: "", sample: "user.created", rules: include_str!("../../routes.yaml") };

impl Preset {
    /// Its first comment line.
    fn summary(&self) -> &'static str {
        self.rules.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

impl Init {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if self.list {
            let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or_default();
            PRESETS.iter().for_each(|preset| print(&format!("{:width$}  {}\n", preset.name, preset.summary())));
            return Ok(ExitCode::SUCCESS);
        }
        let preset = self.preset.as_deref().map_or(Ok(&A_BIT_OF_EVERYTHING), find)?;
        let path = &self.routes.routes;
        write_new(path, &format!("# yaml-language-server: $schema={SCHEMA}\n{}", preset.rules))?;
        let schema_path = path.with_file_name(SCHEMA);
        if !schema_path.exists() {
            write_new(&schema_path, &format!("{:#}\n", schema()))?;
        }
        say_what_next(path, preset.sample);
        Ok(ExitCode::SUCCESS)
    }
}

fn find(name: &str) -> Result<&'static Preset, Failure> {
    let names = || PRESETS.iter().map(|preset| preset.name);
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let all = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Failure {
            hint: Some(match clerk::nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`? there are {all}"),
                None => format!("there are {all}"),
            }),
            ..Failure::usage(format!("there is no preset `{name}`"))
        }
    })
}

/// Writes a file that is not there yet, not even as a link to nowhere. What cannot be written whole is not left behind.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| {
        let written = file.write_all(text.as_bytes());
        written.inspect_err(|_| drop(std::fs::remove_file(path)))
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure {
            hint: Some("name another file with `--routes PATH`".to_owned()),
            ..Failure::not_fine(format!("`{}` exists, and stays as it is", path.display()))
        },
        _ => Failure::not_fine(format!("`{}` cannot be written: {error}", path.display())),
    })
}

fn say_what_next(path: &Path, sample: &str) {
    let program = own_name();
    let word = shell_word(&path.display().to_string());
    let (file, routes) = match path == Path::new("routes.yaml") {
        true => (String::new(), String::new()),
        false => (format!(" {word}"), format!(" --routes {word}")),
    };
    let steps = [
        (format!("{program} check{file}"), "is all of it right?"),
        (format!("{program} explain{routes} --sample {sample}"), "what would be sent, and why; nothing is sent"),
        (format!("{program} dev{routes}"), "try it without any account"),
    ];
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    eprintln!("`{}` is written, and `{SCHEMA}` for your editor. Now edit it. What helps:\n", path.display());
    steps.iter().for_each(|(command, why)| eprintln!("  {command:width$}   # {why}"));
}

/// A text as a shell takes it for one word.
fn shell_word(text: &str) -> String {
    match text.chars().all(|char| char.is_alphanumeric() || "/._-+:@%=,".contains(char)) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
