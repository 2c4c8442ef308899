//! `deskbell serve`: run the gateway.

use std::io::IsTerminal;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::{Addresses, BAD_CONFIGURATION, Failure, NOT_FINE, RoutesArgument, describe, log};
use crate::outside::Outside;
use crate::problem::Severity;
use crate::server::{Gateway, Options};
use crate::watcher::{ReloadRequest, RulesFile};

/// Run the gateway
#[derive(Args)]
#[command(
    after_help = "Example:\n  CLERK_WEBHOOK_SIGNING_SECRET=whsec_… NOVU_SECRET_KEY=… deskbell serve --routes routes.yaml"
)]
pub struct Serve {
    #[command(flatten)]
    routes: RoutesArgument,
    #[command(flatten)]
    addresses: Addresses,
    /// Where events and deliveries are kept: sqlite:PATH; postgres://USER:PASSWORD@HOST:PORT/DATABASE, which several gateways
    /// share; or none, to deliver before the answer
    #[arg(
        long,
        env = "DESKBELL_STORE",
        value_name = "URL",
        default_value = "sqlite:deskbell.db",
        hide_env_values = true
    )]
    store: String,
}

impl Serve {
    pub fn run(self) -> Result<ExitCode, Failure> {
        log::start(self.addresses.log_format, false)?;
        let options = Options {
            rules: RulesFile { path: self.routes.routes, local: None, outside: Outside::Needed },
            listen: self.addresses.listen.unwrap_or_else(|| "0.0.0.0:8080".to_owned()),
            admin: self.addresses.admin,
            metrics: self.addresses.metrics,
            store: self.store,
            admin_token: admin_token(),
            drain_delay: self.addresses.drain_delay.unwrap_or(Duration::from_secs(5)),
            shutdown_grace: self.addresses.shutdown_grace,
        };
        runtime()?.block_on(run(options, |_| {}))
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // As much as the first thread has: without optimization, a file that is nested deep takes more than the usual 2 MiB.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().thread_stack_size(8 << 20).build();
    runtime.map_err(|error| Failure::new(NOT_FINE, format!("the runtime cannot start: {error}")))
}

pub fn admin_token() -> Option<String> {
    std::env::var("DESKBELL_ADMIN_TOKEN").ok().filter(|token| !token.is_empty())
}

/// Runs a gateway until a signal stops it; says when it is ready.
pub async fn run(options: Options, ready: impl FnOnce(&Gateway)) -> Result<ExitCode, Failure> {
    // First of all: a signal that comes before its handler ends the process on the spot.
    let mut stop = pin!(stop_signal()?);
    let hangups = signal(SignalKind::hangup()).map_err(|error| Failure::new(NOT_FINE, error.to_string()))?;
    let gateway = tokio::select! {
        gateway = start(options) => gateway?,
        // It may have waited for a store in use.
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    };
    tokio::spawn(reload_at(hangups, gateway.reloader()));
    tracing::info!(
        webhooks = %gateway.webhook_address,
        admin = %gateway.admin_address,
        metrics = gateway.metrics_address.map(tracing::field::display),
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    ready(&gateway);
    gateway.run(stop).await;
    Ok(ExitCode::SUCCESS)
}

/// Starts a gateway, and reports what is worth knowing.
async fn start(options: Options) -> Result<Gateway, Failure> {
    let path = options.rules.path.clone();
    Gateway::start(options).await.map_err(|error| {
        let source = std::io::stderr().is_terminal().then(|| std::fs::read_to_string(&path).ok()).flatten();
        log::flush();
        for problem in error.problems.iter().filter(|problem| problem.severity != Severity::Note) {
            eprint!("{}", describe(&path.display().to_string(), source.as_deref(), problem));
        }
        Failure { hint: error.hint, ..Failure::new(BAD_CONFIGURATION, error.message) }
    })
}

async fn reload_at(mut hangups: Signal, reload: mpsc::Sender<ReloadRequest>) {
    while hangups.recv().await.is_some() {
        let (request, ended) = oneshot::channel();
        if reload.send(request).await.is_err() {
            return;
        }
        let _ = ended.await;
    }
}

/// Resolves at the first signal to stop. The second ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: std::io::Error| Failure::new(NOT_FINE, error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (first, told) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match first.take() {
                Some(first) => drop(first.send(())),
                None => {
                    log::flush();
                    std::process::exit(NOT_FINE.into());
                }
            }
        }
    });
    Ok(async move {
        let _ = told.await;
    })
}
