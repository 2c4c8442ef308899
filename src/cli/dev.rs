//! `deskbell dev`: the gateway on a laptop, with no accounts.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::serve::{admin_token, run, runtime};
use super::{Addresses, Failure, RoutesArgument, log, own_name, print};
use crate::explain::pretty;
use crate::http::{self, Answer};
use crate::novu::{Account, TRIGGER_PATH};
use crate::outside::Outside;
use crate::server::Options;
use crate::verify::{LOCAL_SECRET, Secret};
use crate::watcher::RulesFile;

/// Novu's own limit for a request, in bytes.
const MAX_REQUEST: usize = 20 << 20;

/// Run the gateway on a laptop, with no accounts: nothing is sent, everything is shown
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell dev\n  deskbell send user.created   # in a second shell")]
pub struct Dev {
    #[command(flatten)]
    routes: RoutesArgument,
    #[command(flatten)]
    addresses: Addresses,
    /// Real mail, with a Novu key and a signing secret of your own
    #[arg(long)]
    live: bool,
}

impl Dev {
    pub fn run(self) -> Result<ExitCode, Failure> {
        log::start(self.addresses.log_format, true)?;
        let listen = self.addresses.listen.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        for address in
            [Some(&listen), Some(&self.addresses.admin), self.addresses.metrics.as_ref()].into_iter().flatten()
        {
            only_loopback(address)?;
        }
        let folder = tempfile::tempdir().map_err(|error| Failure::not_fine(format!("no throw-away store: {error}")))?;
        runtime()?.block_on(async {
            let local = if self.live { None } else { Some((secrets(), start_stand_in().await?)) };
            let outside = if self.live { Outside::Needed } else { Outside::Optional };
            let options = Options {
                rules: RulesFile { path: self.routes.routes.clone(), local, outside },
                listen,
                admin: self.addresses.admin,
                metrics: self.addresses.metrics,
                store: format!("sqlite:{}", folder.path().join("deskbell.db").display()),
                admin_token: admin_token(),
                drain_delay: self.addresses.drain_delay.unwrap_or(Duration::ZERO),
                shutdown_grace: self.addresses.shutdown_grace,
            };
            let file = self.routes.routes.display().to_string();
            run(options, |gateway| greet(gateway.webhook_address, self.live, &file)).await
        })
    }
}

fn only_loopback(address: &str) -> Result<(), Failure> {
    let loopback =
        address.to_socket_addrs().is_ok_and(|mut addresses| addresses.all(|address| address.ip().is_loopback()));
    match loopback {
        true => Ok(()),
        false => Err(Failure {
            hint: Some("use `deskbell serve` for an address that others can reach".to_owned()),
            ..Failure::usage(format!("`dev` serves this machine alone, and `{address}` is not on it"))
        }),
    }
}

/// The built-in secret, and the one of the environment that `send` would use.
fn secrets() -> Vec<Secret> {
    let own = std::env::var("CLERK_WEBHOOK_SIGNING_SECRET").ok();
    [Some(LOCAL_SECRET), own.as_deref()].into_iter().flatten().filter_map(|secret| Secret::parse(secret).ok()).collect()
}

fn greet(address: SocketAddr, live: bool, file: &str) {
    let command = own_name();
    let to = match address.port() {
        8080 => String::new(),
        _ => format!(" --to http://{address}/webhooks/clerk"),
    };
    log::flush();
    eprintln!("\nDeskbell waits for webhooks at http://{address}/webhooks/clerk");
    eprintln!("Edit {file}: every change is taken at once.");
    match live {
        true => eprintln!("LIVE: what comes in is sent through Novu.\n"),
        false => eprintln!(
            "Nothing is sent; Novu requests are shown here. Send a first event from a second shell:\n\n    {command} send user.created{to}\n"
        ),
    }
}

/// Plays Novu inside this process: takes what Novu would have been sent, and shows it.
async fn start_stand_in() -> Result<Account, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::not_fine(format!("the stand-in for Novu cannot start: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    tokio::spawn(async move {
        let (_keep, never) = watch::channel(false);
        http::serve(listener, never, || {}, show).await;
    });
    Account::new(&format!("http://{address}"), "local").map_err(|error| failed(&error))
}

async fn show(request: Request<Incoming>) -> Answer {
    let line = format!("{} {}", request.method(), request.uri().path());
    if request.uri().path() != TRIGGER_PATH {
        // Also where many would go in one call: they are shown one by one.
        return http::refusal(StatusCode::NOT_FOUND, "not_found", &format!("Cannot {line}"));
    }
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(body) = http::read_body(request, MAX_REQUEST).await else {
        return http::refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Payload Too Large");
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    // What is logged of the event comes first.
    log::flush();
    print(&format!(
        "\n{line}\nAuthorization: ApiKey …\nContent-Type: application/json\nIdempotency-Key: {key}\n\n{}\n",
        pretty(&body)
    ));
    let done = json!({"acknowledged": true, "status": "processed", "transactionId": body["transactionId"]});
    http::json_answer(StatusCode::CREATED, &json!({"data": done}))
}
