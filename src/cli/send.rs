//! `deskbell send`: sign a sample event as Svix would, stamped now, and post it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::serve::runtime;
use super::{Changes, Failure, NOT_FINE, gateway, print, rate, sample};
use crate::units::now;
use crate::verify::{LOCAL_SECRET, Secret};

/// Sign a sample event as Svix would, stamped now, and post it
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell send user.created --set data.first_name=Ada")]
pub struct Send {
    /// A sample, as `deskbell samples` lists them
    name: String,
    /// Where the gateway takes webhooks
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/webhooks/clerk")]
    to: String,
    /// The id of the webhook, the same for all of them [default: a new one for each]
    #[arg(long)]
    id: Option<String>,
    /// How many are sent
    #[arg(long, default_value = "1")]
    count: u64,
    /// How many a second, at most, such as 100/s
    #[arg(long, value_parser = rate)]
    rate: Option<u32>,
    /// The signing secret [default: the environment's, else the one that `deskbell dev` knows]
    #[arg(long, env = "CLERK_WEBHOOK_SIGNING_SECRET", hide_env_values = true, value_name = "WHSEC")]
    secret: Option<String>,
    #[command(flatten)]
    changes: Changes,
}

impl Send {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let secret = self.secret.as_deref().filter(|secret| !secret.trim().is_empty()).unwrap_or(LOCAL_SECRET);
        let secret = Secret::parse(secret).map_err(Failure::usage)?;
        let mut event = sample(&self.name)?;
        runtime()?.block_on(async {
            let client = gateway::client(&self.to)?;
            let mut pace =
                tokio::time::interval(self.rate.map_or(Duration::from_nanos(1), |rate| Duration::from_secs(1) / rate));
            let (mut refused, mut other_secret, mut unrouted) = (false, false, false);
            for number in 0..self.count {
                if self.rate.is_some() {
                    pace.tick().await;
                }
                event["timestamp"] = Value::from(now());
                self.changes.apply(&mut event)?;
                let id = self.id.clone().unwrap_or_else(|| new_id(number));
                let answer = self.post(&client, &secret, &id, event.to_string()).await?;
                refused |= !answer.starts_with("200 ");
                other_secret |= answer.contains("\"invalid_signature\"");
                unrouted |= answer.contains("\"unrouted\"");
            }
            if unrouted {
                eprintln!("  hint: `deskbell explain --sample {}` says why no route wants it", self.name);
            }
            if other_secret {
                eprintln!("  hint: the gateway has another secret; name it with `--secret`");
            }
            Ok(if refused { ExitCode::from(NOT_FINE) } else { ExitCode::SUCCESS })
        })
    }

    /// Posts one webhook, and prints and returns the answer: its status and body.
    async fn post(&self, client: &reqwest::Client, secret: &Secret, id: &str, body: String) -> Result<String, Failure> {
        let timestamp = (now() / 1000).to_string();
        let request = client
            .post(&self.to)
            .header(CONTENT_TYPE, "application/json")
            .header("svix-id", id)
            .header("svix-timestamp", &timestamp)
            .header("svix-signature", secret.sign(id, &timestamp, body.as_bytes()))
            .body(body);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let answer = response.text().await.map_err(|error| self.unreachable(&error))?;
        let answer = format!("{} {}\n", status.as_u16(), answer.trim());
        print(&answer);
        Ok(answer)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        match error.is_builder() {
            true => Failure::usage(format!("`{}` cannot be asked: {error}", self.to)),
            false => Failure {
                hint: Some("start one with `deskbell dev`, or name its address with `--to URL`".to_owned()),
                ..Failure::not_fine(format!("no gateway answers at {}", self.to))
            },
        }
    }
}

/// `msg_` and 27 letters, as Svix makes them.
fn new_id(number: u64) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let seed = Sha256::digest(format!("{nanos} {} {number}", std::process::id()));
    let letters: String = seed[..27].iter().map(|byte| char::from(LETTERS[usize::from(*byte) % 62])).collect();
    format!("msg_{letters}")
}
