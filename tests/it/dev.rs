//! `dev`, and how `serve` refuses to start.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Place, SECRET, deskbell, eventually};
use crate::novu::Novu;
use crate::shell::{Ran, run_command};

const LOCAL_SECRET: &str = deskbell::verify::LOCAL_SECRET;
const ROUTES: &str =
    "routes:\n  - { event: user.created, workflow: welcome, payload: { name: \"{{data.first_name}}\" } }\n";

fn place(text: &str) -> Place {
    let place = Place::empty();
    place.write_rules(text);
    place
}

/// A command of the binary in a folder, on ports of its own.
fn command(place: &Place, arguments: &str) -> Command {
    let mut command = deskbell();
    command.current_dir(place.folder.path()).args(arguments.split_whitespace());
    command
}

fn run(place: &Place, arguments: &str) -> Ran {
    run_command(command(place, arguments), b"")
}

/// A running `deskbell dev`, and what it has printed.
pub struct Dev {
    child: Child,
    pub webhooks: String,
    stdout: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
}

impl Dev {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = Arc::default();
        let [out, err] = [
            Box::new(child.stdout.take().expect("a pipe")) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().expect("a pipe")),
        ]
        .map(BufReader::new);
        let log = Arc::new(Mutex::new(String::new()));
        collect(out, Arc::clone(&stdout));
        collect(err, log.clone());
        let webhooks = eventually("dev waits for webhooks", || {
            if let Some(status) = child.try_wait().expect("a status") {
                panic!("dev ended with {status}: {}", log.lock().expect("the log"));
            }
            let log = log.lock().expect("the log");
            let line = log.lines().find(|line| line.starts_with("Deskbell waits for webhooks at "))?;
            // That is written after it.
            log.contains("Nothing is sent").then_some(())?;
            line.split_whitespace().last().map(str::to_owned)
        });
        Self { child, webhooks, stdout, log }
    }

    /// Where the log says that the admin address is.
    fn admin(&self) -> String {
        let log = self.log.lock().expect("the log");
        let address = log.split("admin=").nth(1).and_then(|rest| rest.split_whitespace().next());
        format!("http://{}", address.expect("an admin address"))
    }

    fn shown(&self) -> String {
        self.stdout.lock().expect("what is shown").clone()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(reader: BufReader<Box<dyn Read + Send>>, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            let mut text = into.lock().expect("the text");
            text.push_str(&line);
            text.push('\n');
        }
    });
}

pub const DEV: &str = "dev --listen 127.0.0.1:0 --admin 127.0.0.1:0";

#[test]
fn dev_takes_what_send_sends_and_shows_the_exact_request() {
    let place = place(ROUTES);
    let mut dev = Dev::start(command(&place, DEV));
    let sent = run(&place, &format!("send user.created --set data.first_name=Gr\u{9b}ce --to {}", dev.webhooks)).fine();
    let answer: Value = serde_json::from_str(sent.stdout.strip_prefix("200 ").expect("status 200")).expect("JSON");
    assert_eq!((answer["outcome"].as_str(), answer["routes"][0].as_str()), (Some("accepted"), Some("welcome")));

    let shown = eventually("the request is shown", || Some(dev.shown()).filter(|text| text.ends_with("\n}\n")));
    let (head, body) = shown.trim_start().split_once("\n\n").expect("a head and a body");
    assert!(!body.contains('\u{9b}'), "a terminal would act on it: {body:?}");
    let body: Value = serde_json::from_str(body).expect("JSON alone");
    let id = body["transactionId"].as_str().expect("an id");
    let (head, key) = head.split_once("\nIdempotency-Key: ").expect("a key");
    assert_eq!(head, "POST /v1/events/trigger\nAuthorization: ApiKey …\nContent-Type: application/json");
    assert!(key.starts_with(&format!("{id}-")) && key.ends_with("-0"), "{key}");
    let explained = run(&place, "explain --sample user.created --set data.first_name=Gr\u{9b}ce --json").fine().json();
    let mut expected = explained["routes"][0]["requests"][0]["body"].clone();
    expected["transactionId"] = id.into();
    assert_eq!(body, expected, "what `explain` says is what is sent");

    let stop = Command::new("kill").args(["-TERM", &dev.child.id().to_string()]).status().expect("kill");
    assert!(stop.success());
    let ended = eventually("dev ends", || dev.child.try_wait().expect("a status"));
    assert_eq!(ended.code(), Some(0));
    let names =
        std::fs::read_dir(place.folder.path()).expect("the folder").map(|entry| entry.expect("a file").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["routes.yaml"], "it leaves nothing behind");
}

#[test]
fn dev_shows_many_one_by_one() {
    let place = place(
        "routes:\n  - { event: user.created, workflow: many, each: \"$.data.email_addresses[*]\", \
         subscriber: { subscriberId: \"{{item.id}}\" } }\n",
    );
    let dev = Dev::start(command(&place, DEV));
    let items: Vec<Value> = (0..90).map(|number| json!({"id": format!("person_{number}")})).collect();
    let items = Value::from(items);
    run(&place, &format!("send user.created --set data.email_addresses={items} --to {}", dev.webhooks)).fine();
    let shown = eventually("all of it is shown", || {
        Some(dev.shown()).filter(|text| text.matches("\"subscriberId\"").count() >= 90 && text.ends_with("\n}\n"))
    });
    assert_eq!(shown.matches("POST /v1/events/trigger\n").count(), 90);
    assert_eq!((0..90).filter(|number| shown.contains(&format!("\"person_{number}\""))).count(), 90);
}

#[test]
fn dev_also_takes_what_the_secret_of_the_environment_signs_and_nothing_else() {
    let place = place(ROUTES);
    let mut with_secret = command(&place, DEV);
    with_secret.env("CLERK_WEBHOOK_SIGNING_SECRET", SECRET);
    let dev = Dev::start(with_secret);
    let send = |secret| run(&place, &format!("send user.created --secret {secret} --to {}", dev.webhooks));
    send(SECRET).fine();
    send(LOCAL_SECRET).fine();
    assert_eq!(send("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").status, 1);
}

#[test]
fn dev_serves_this_machine_alone() {
    let place = place(ROUTES);
    for addresses in [
        "--listen 0.0.0.0:0 --admin 127.0.0.1:0",
        "--listen 127.0.0.1:0 --admin 0.0.0.0:0",
        "--listen 127.0.0.1:0 --admin 127.0.0.1:0 --metrics 0.0.0.0:0",
        "--listen [::]:0 --admin 127.0.0.1:0",
        "--listen nonsense --admin 127.0.0.1:0",
    ] {
        run(&place, &format!("dev {addresses}"))
            .failed(2)
            .says(&["`dev` serves this machine alone", "use `deskbell serve`"]);
    }
}

#[test]
fn dev_with_real_mail_needs_secrets_of_ones_own() {
    let place = place(ROUTES);
    run(&place, &format!("{DEV} --live")).failed(78).says(&["CLERK_WEBHOOK_SIGNING_SECRET", "NOVU_SECRET_KEY"]);
    let mut local = command(&place, &format!("{DEV} --live"));
    local.env("CLERK_WEBHOOK_SIGNING_SECRET", LOCAL_SECRET).env("NOVU_SECRET_KEY", "key");
    run_command(local, b"").failed(78).says(&["the built-in one of `deskbell dev`, which everybody has"]);
}

const SERVE: &str = "serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --shutdown-grace 0";

#[test]
fn serve_refuses_the_secret_that_everybody_has() {
    for text in [
        ROUTES.to_owned(),
        format!("sources: {{ clerk: {{ signing_secrets: [\"{LOCAL_SECRET}\"] }} }}\n{ROUTES}"),
        format!(
            "sources: {{ clerk: {{ signing_secrets: [{SECRET}, \"${{CLERK_WEBHOOK_SIGNING_SECRET}}\"] }} }}\n{ROUTES}"
        ),
    ] {
        let place = place(&text);
        let mut command = command(&place, SERVE);
        command.env("CLERK_WEBHOOK_SIGNING_SECRET", format!(" {LOCAL_SECRET}\n")).env("NOVU_SECRET_KEY", "key");
        let ran = run_command(command, b"").failed(78);
        assert!(!ran.stderr.contains("ZGVza2"), "{}", ran.stderr);
        ran.says(&["error[bad_value]: the signing secret is the built-in one of `deskbell dev`"]);
    }
}

#[test]
fn serve_names_every_value_that_is_not_set_and_its_line() {
    let place = place(
        "sources:\n  clerk: { signing_secrets: [\"${CLERK_GONE}\"] }\n  two: { signing_secrets: \"${file:/gone/two}\" }\n\
         novu: { secret_key: \"${NOVU_GONE}\" }\nvars: { a: \"${NOVU_EMPTY}\", b: [\"${NOVU_B}\"] }\nroutes: []\n",
    );
    let mut command = command(&place, SERVE);
    command.env("NOVU_EMPTY", " ");
    let ran = run_command(command, b"").failed(78).says(&[
        "routes.yaml:2:30: error[unset_variable]: `${CLERK_GONE}` is not set\n  in: sources.clerk.signing_secrets[0]\n",
        "set the environment variable `CLERK_GONE` where the gateway starts",
        "routes.yaml:3:27: error[unset_variable]: `${file:/gone/two}` cannot be read: ",
        "put the value into `/gone/two`",
        "routes.yaml:4:21: error[unset_variable]: `${NOVU_GONE}` is not set",
        "routes.yaml:5:12: error[unset_variable]: `${NOVU_EMPTY}` is empty",
        "routes.yaml:5:33: error[unset_variable]: `${NOVU_B}` is not set",
        "deskbell: `routes.yaml` has errors",
    ]);
    assert_eq!(ran.stderr.matches("error[").count(), 5, "{}", ran.stderr);

    let ran = run(&self::place(ROUTES), SERVE).failed(78);
    ran.says(&["`${CLERK_WEBHOOK_SIGNING_SECRET}` is not set", "`${NOVU_SECRET_KEY}` is not set"]);
}

#[test]
fn serve_does_not_start_with_a_broken_configuration() {
    let broken = place("routes:\n  - { event: user.created, workflow: a, filer: x }\n  - { event: user.created }\n");
    let started = |place: &Place, arguments: &str| {
        let mut command = command(place, arguments);
        command.env("CLERK_WEBHOOK_SIGNING_SECRET", SECRET).env("NOVU_SECRET_KEY", "key");
        run_command(command, b"").failed(78)
    };
    started(&broken, SERVE).says(&[
        "routes.yaml:2:41: error[unknown_key]: unknown key `filer`",
        "hint: did you mean `filter`?",
        "routes.yaml:3:5: error[missing_key]: the route has no `workflow`",
        "deskbell: `routes.yaml` has errors",
    ]);
    let good = place(ROUTES);
    let both = "--listen 127.0.0.1:0 --admin";
    for (arguments, said, hint) in [
        (format!("{SERVE} --routes gone.yaml"), "`gone.yaml` cannot be read", "name the file with `--routes PATH`"),
        (format!("{SERVE} --store mysql:x"), "`mysql:x` is not a store", "`sqlite:PATH`"),
        (format!("{SERVE} --store sqlite:gone/x.db"), "the store `gone/x.db` cannot be opened", "No such file"),
        (format!("serve {both} 0.0.0.0:0"), "can be reached from elsewhere", "set `DESKBELL_ADMIN_TOKEN`"),
        (
            format!("serve {both} nonsense"),
            "the address `nonsense` cannot be used",
            "such as `127.0.0.1:8081`, with `--listen`",
        ),
    ] {
        started(&good, &arguments).says(&[said, hint]);
    }
    let kept = place(ROUTES);
    std::fs::write(kept.path("deskbell.db"), "not a database, and long enough to be looked at").expect("a file");
    started(&kept, SERVE).says(&["the store `deskbell.db` cannot be opened"]);
}

#[test]
fn a_failing_test_of_the_file_keeps_no_gateway_down() {
    let novu = Novu::start();
    let place = place(&format!(
        "{}tests: [{{ event: user.created, expect: [{{ route: nobody }}] }}]\n",
        crate::harness::rules(novu.address, crate::harness::WELCOME)
    ));
    let gateway = place.start();
    eventually("the failure is logged", || gateway.log().contains("`nobody` is not sent").then_some(()));
    assert_eq!(gateway.send("msg_1", &crate::harness::sample("user.created")).outcome(), "accepted");
}

#[test]
fn what_dev_holds_is_explained_by_its_id() {
    let place = place(ROUTES);
    let dev = Dev::start(command(&place, DEV));
    run(&place, &format!("send user.created --id msg_1 --to {}", dev.webhooks)).fine();
    let explained = run(&place, &format!("explain --id msg_1 --json --gateway {}", dev.admin())).fine().json();
    assert_eq!(explained["event"]["id"], "msg_1");
    assert_eq!(explained["routes"][0]["requests"][0]["body"]["payload"]["name"], "Ada");
}
