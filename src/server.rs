//! Bind, wire, run until told to stop, drain.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::deliver::{Attempts, Deliverer, Lanes};
use crate::direct::Direct;
use crate::http;
use crate::mount;
use crate::novu::Novu;
use crate::observe::Metrics;
use crate::problem::Problem;
use crate::receive::Before;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::store::{OpenError, Store};
use crate::units::now;
use crate::upkeep::Upkeep;
use crate::watcher::{LastReload, ReloadRequest, Reloaded, RulesFile, Watcher, fingerprint, folder_of};
use crate::webhooks::Webhooks;

/// The store that is none: events are delivered before they are answered.
const NO_STORE: &str = "none";
/// How often a store that belongs to another process is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What a gateway is started with. None of it is hot.
pub struct Options {
    pub rules: RulesFile,
    /// Where webhooks come in.
    pub listen: String,
    pub admin: String,
    /// Metrics and health alone, if they are wanted elsewhere too.
    pub metrics: Option<String>,
    /// `sqlite:PATH` or `none`.
    pub store: String,
    pub admin_token: Option<String>,
    /// How long webhooks are still taken after the signal to stop.
    pub drain_delay: Duration,
    /// How long running attempts get to end.
    pub shutdown_grace: Duration,
}

/// Why a gateway cannot start.
#[derive(Debug)]
pub struct StartError {
    pub message: String,
    pub hint: Option<String>,
    /// What is wrong with the rules, if it is they.
    pub problems: Vec<Problem>,
}

impl StartError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, problems: Vec::new() }
    }
}

/// A gateway that has its addresses, its rules and its store.
pub struct Gateway {
    pub webhook_address: SocketAddr,
    pub admin_address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    listeners: Listeners,
    webhooks: Webhooks,
    admin: Admin,
    delivery: Delivery,
    upkeep: Option<Upkeep>,
    settings: watch::Receiver<Arc<Settings>>,
    watcher: Watcher,
    reload_requests: mpsc::Receiver<ReloadRequest>,
    settings_sender: watch::Sender<Arc<Settings>>,
    drain_delay: Duration,
    shutdown_grace: Duration,
}

/// What makes attempts.
enum Delivery {
    FromStore(Deliverer),
    Direct(Direct),
}

impl Delivery {
    async fn run(self, settings: watch::Receiver<Arc<Settings>>, stop: watch::Receiver<bool>, grace: Duration) {
        match self {
            Delivery::FromStore(deliverer) => deliverer.run(settings, stop, grace).await,
            Delivery::Direct(direct) => direct.run(settings, stop, grace).await,
        }
    }
}

struct Listeners {
    webhooks: TcpListener,
    admin: TcpListener,
    metrics: Option<TcpListener>,
}

impl Gateway {
    /// Everything that can fail before the first webhook.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let content = options.rules.read();
        let bytes = content.as_ref().map_err(|error| cannot_read(&options.rules, error))?;
        let compiled = options.rules.compile(bytes);
        warn_of_mount(&options.rules.path);
        // An upgrade must not keep a gateway down because a test of the file fails.
        let tests = compiled.run_tests(&folder_of(&options.rules.path));
        for problem in &tests.problems {
            tracing::warn!(line = problem.line, "{}", problem.message);
        }
        let mut problems = compiled.problems.clone();
        let rules = compiled.rules.ok_or_else(|| StartError {
            message: format!("`{}` has errors", options.rules.path.display()),
            hint: None,
            problems: problems.clone(),
        })?;
        problems.extend(tests.problems);
        let running = fingerprint(content.as_deref().ok(), &compiled.files);
        let secret_files: Vec<_> = compiled.files.into_keys().collect();

        // First the store: whoever has it may have the addresses too, and leave both.
        let unknown = rules.settings.retry.unknown;
        let store = match &*options.store {
            NO_STORE => None,
            url => Some(open_store(url, unknown, options.shutdown_grace).await?),
        };
        let listeners = Listeners {
            webhooks: bind(&options.listen).await?,
            admin: bind(&options.admin).await?,
            metrics: match &options.metrics {
                Some(address) => Some(bind(address).await?),
                None => None,
            },
        };
        let admin_address = local_address(&listeners.admin)?;
        if !admin_address.ip().is_loopback() && options.admin_token.is_none() {
            return Err(StartError {
                hint: Some("set `DESKBELL_ADMIN_TOKEN`, or use `--metrics` for what Prometheus needs".to_owned()),
                ..StartError::new(format!(
                    "the admin address `{admin_address}` can be reached from elsewhere, and there is no token"
                ))
            });
        }

        let metrics = Arc::new(Metrics::new().map_err(|error| StartError::new(error.to_string()))?);
        let novu = Novu::new().map_err(|error| StartError {
            hint: Some("install the package `ca-certificates`, or point `SSL_CERT_FILE` at certificates".to_owned()),
            ..StartError::new(format!("there are no certificates to know Novu by: {error}"))
        })?;
        metrics.rules(&rules.revision, now());

        let last =
            LastReload { result: Reloaded::Applied, at: now(), revision: Some(rules.revision.clone()), problems };
        let last = Arc::new(Mutex::new(last));
        let (settings_sender, settings) = watch::channel(rules.settings.clone());
        let (rules_sender, rules) = watch::channel(Arc::new(rules));
        let (reload, reload_requests) = mpsc::channel(16);
        let lanes = Arc::new(Lanes::default());
        let attempts = Attempts { novu, metrics: metrics.clone(), lanes: lanes.clone() };
        let upkeep = store.clone().map(|store| Upkeep {
            store,
            lanes: lanes.clone(),
            metrics: metrics.clone(),
            rules: rules.clone(),
        });
        let (before, delivery) = match store.clone() {
            Some(store) => (Before::Kept(store.clone()), Delivery::FromStore(Deliverer::new(store, attempts))),
            None => {
                let direct = Direct::new(attempts);
                (Before::Delivered(direct.clone()), Delivery::Direct(direct))
            }
        };
        Ok(Self {
            webhook_address: local_address(&listeners.webhooks)?,
            admin_address,
            metrics_address: listeners.metrics.as_ref().map(local_address).transpose()?,
            listeners,
            webhooks: Webhooks { rules: rules.clone(), before, metrics: metrics.clone() },
            admin: Admin {
                rules,
                store,
                metrics: metrics.clone(),
                lanes,
                last_reload: last.clone(),
                reload,
                draining: Arc::new(AtomicBool::new(false)),
                token: options.admin_token.map(Into::into),
                explaining: Arc::new(Semaphore::new(1)),
                looking: Arc::new(Semaphore::new(4)),
            },
            upkeep,
            delivery,
            settings,
            watcher: Watcher {
                file: options.rules,
                rules: rules_sender,
                metrics,
                last,
                secret_files,
                seen: running,
                running,
            },
            reload_requests,
            settings_sender,
            drain_delay: options.drain_delay,
            shutdown_grace: options.shutdown_grace,
        })
    }

    /// Asks for the rules to be read again, as SIGHUP does.
    pub fn reloader(&self) -> mpsc::Sender<ReloadRequest> {
        self.admin.reload.clone()
    }

    /// Runs until `stop` resolves, then drains. Nothing that was accepted is lost either way.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stop_webhooks, webhooks_stopped) = watch::channel(false);
        let (stop_delivery, delivery_stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let draining = self.admin.draining.clone();
        let store = self.admin.store.clone();

        let rules = self.webhooks.rules.clone();
        let settings = tokio::spawn(follow_settings(rules, self.settings_sender));
        let watcher = tokio::spawn(self.watcher.run(self.reload_requests));
        let upkeep = self.upkeep.map(|upkeep| tokio::spawn(upkeep.run()));
        let delivery = tokio::spawn(self.delivery.run(self.settings, delivery_stopped, self.shutdown_grace));
        let admin = serve_admin(&self.admin, self.listeners.admin, self.admin_address, admin_stopped.clone());
        let metrics = self.listeners.metrics.map(|listener| serve_metrics(&self.admin, listener, admin_stopped));
        let webhooks = serve_webhooks(self.webhooks, self.listeners.webhooks, webhooks_stopped);

        stop.await;
        draining.store(true, Ordering::Relaxed);
        tracing::info!("stopping; webhooks are still taken for {:?}", self.drain_delay);
        tokio::time::sleep(self.drain_delay).await;
        stop_webhooks.send_replace(true);
        stop_delivery.send_replace(true);
        let _ = tokio::time::timeout(self.shutdown_grace, webhooks).await;
        let _ = delivery.await;
        stop_admin.send_replace(true);
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
        for task in [Some(settings), Some(watcher), upkeep, metrics].into_iter().flatten() {
            task.abort();
        }
        if let Some(store) = store {
            store.close().await;
        }
        tracing::info!("stopped");
    }
}

/// What delivering needs of the rules, and no more.
async fn follow_settings(mut rules: watch::Receiver<Arc<Rules>>, settings: watch::Sender<Arc<Settings>>) {
    while rules.changed().await.is_ok() {
        let current = rules.borrow_and_update().settings.clone();
        settings.send_replace(current);
    }
}

fn serve_webhooks(webhooks: Webhooks, listener: TcpListener, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let metrics = webhooks.metrics.clone();
    let slow = move || metrics.webhook("other", "timeout", 0.0);
    tokio::spawn(http::serve(listener, stop, slow, move |request| webhooks.clone().answer(request)))
}

fn serve_admin(
    admin: &Admin,
    listener: TcpListener,
    address: SocketAddr,
    stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let admin = admin.clone();
    tokio::spawn(http::serve(listener, stop, || {}, move |request| admin.clone().answer(address, request)))
}

fn serve_metrics(admin: &Admin, listener: TcpListener, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let admin = admin.clone();
    tokio::spawn(http::serve(listener, stop, || {}, move |request| admin.clone().answer_metrics(request)))
}

/// What is put in its place by a rename never comes in, and nothing else would tell.
fn warn_of_mount(file: &Path) {
    if mount::is_mounted_alone(file) {
        tracing::warn!(
            file = %file.display(),
            hint = "mount the folder that it stands in",
            "the file of rules is mounted on its own, so a change of it may never be seen"
        );
    }
}

fn cannot_read(rules: &RulesFile, error: &std::io::Error) -> StartError {
    StartError {
        hint: Some("name the file with `--routes PATH`".to_owned()),
        ..StartError::new(format!("`{}` cannot be read: {error}", rules.path.display()))
    }
}

async fn bind(address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError {
        hint: Some(
            "another process may have it; name another, such as `127.0.0.1:8081`, with `--listen` or `--admin`"
                .to_owned(),
        ),
        ..StartError::new(format!("the address `{address}` cannot be used: {error}"))
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::new(error.to_string()))
}

/// A store that belongs to another process may be about to become free.
async fn open_store(url: &str, unknown: i64, patience: Duration) -> Result<Store, StartError> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut told = false;
    loop {
        let address = url.to_owned();
        let opened = tokio::task::spawn_blocking(move || Store::open(&address, now(), unknown)).await;
        match opened.map_err(|error| StartError::new(error.to_string()))? {
            Ok(store) => {
                store.release();
                return Ok(store);
            }
            Err(OpenError { in_use: true, message, .. }) if tokio::time::Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("{message}; waiting for it");
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(error) => return Err(StartError { hint: error.hint, ..StartError::new(error.message) }),
        }
    }
}
