//! `examples/novu-clerk-guide`: the workflow names of Novu's guide, and by its comments those of the sample application.

use std::fs;
use std::path::Path;

use deskbell::units::now;
use serde_json::{Value, json};

use crate::harness::{Place, repository, rules, sample_with};
use crate::novu::Novu;
use crate::shell::run_with;

/// Event or slug, the guide's workflow, the sample application's.
const WORKFLOWS: [(&str, &str, &str); 17] = [
    ("user.created", "user-created", "user-created"),
    ("session.created", "recent-login-v2", "session-created"),
    ("verification_code", "verification-code-v2", "verification-code"),
    ("reset_password_code", "reset-password-code-v2", "reset-password-code"),
    ("magic_link_sign_in", "auth-magic-link-login", "auth-magic-link-login"),
    ("magic_link_sign_up", "auth-magic-link-registration", "auth-magic-link-registration"),
    ("magic_link_user_profile", "profile-magic-link-update", "profile-magic-link-update"),
    ("invitation", "user-invitation", "user-invitation"),
    ("organization_invitation", "organization-invitation-v2", "organization-invitation"),
    ("organization_invitation_accepted", "org-member-joined", "org-member-joined"),
    ("waitlist_confirmation", "waitlist-signup-confirmed", "waitlist-signup-confirmed"),
    ("waitlist_invitation", "waitlist-access-granted", "waitlist-access-granted"),
    ("passkey_added", "security-passkey-created", "security-passkey-created"),
    ("passkey_removed", "security-passkey-deleted", "security-passkey-deleted"),
    ("password_changed", "security-password-updated", "security-password-updated"),
    ("password_removed", "security-password-deleted", "security-password-deleted"),
    ("primary_email_address_changed", "profile-email-updated", "profile-email-updated"),
];
/// Slugs that neither names.
const OTHERS: [(&str, &str); 4] = [
    ("account_locked", "email-account-locked"),
    ("mfa_enabled", "email-mfa-enabled"),
    ("new_device_sign_in", "email-new-device-sign-in"),
    ("magic_link_of_tomorrow", "email-magic-link-of-tomorrow"),
];
const MARK: &str = "# the sample application: ";

/// The one request that an event becomes, with the e-mails handed over by Clerk, and the route that made it.
fn sent(routes: &Path, event: &str) -> (String, Value) {
    let email = format!("email.created/{event}");
    let sample = if event.contains('.') { event } else { &email };
    let known = deskbell::clerk::sample(sample).is_some();
    let ran = run_with("explain --json --set data.delivered_by_clerk=false --routes", |command| {
        command.arg(routes).args(["--sample", if known { sample } else { "email.created" }]);
        if !known {
            command.args(["--set", &format!("data.slug={event}")]);
        }
    });
    let explained = ran.fine().json();
    let routes = explained["routes"].as_array().expect("routes").iter().filter(|route| route["taken"] == true);
    let taken: Vec<&Value> = routes.collect();
    assert_eq!(taken.len(), 1, "{event}: {explained:#}");
    let name = taken[0]["route"].as_str().expect("a name").to_owned();
    (name, taken[0]["requests"][0]["body"].clone())
}

fn assert_workflow(routes: &Path, event: &str, workflow: &str) {
    let (_, body) = sent(routes, event);
    assert_eq!(body["name"], workflow, "{event}");
}

#[test]
fn every_event_and_slug_of_the_guide_starts_its_workflow_as_the_readme_says() {
    let folder = repository("examples/novu-clerk-guide");
    let readme = fs::read_to_string(folder.join("README.md")).expect("README.md");
    for (event, guide, application) in WORKFLOWS {
        assert_workflow(&folder.join("routes.yaml"), event, guide);
        let row = format!("\n| `{event}` | `{guide}` | `{application}` |\n");
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
    for (slug, workflow) in OTHERS {
        assert_workflow(&folder.join("routes.yaml"), slug, workflow);
    }
}

#[test]
fn the_four_edits_that_the_comments_name_give_the_names_of_the_sample_application() {
    let text = fs::read_to_string(repository("examples/novu-clerk-guide/routes.yaml")).expect("routes.yaml");
    let mut edits = 0;
    let edited: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(MARK) {
            None => line.to_owned(),
            Some((code, name)) => {
                edits += 1;
                let (key, _) = code.rsplit_once(": ").expect("a key");
                format!("{key}: {name}")
            }
        })
        .collect();
    assert_eq!(edits, 4);
    let folder = tempfile::tempdir().expect("a folder");
    let routes = folder.path().join("routes.yaml");
    fs::write(&routes, edited.join("\n")).expect("a file");

    let checked = run_with("check --strict", |command| {
        command.arg(&routes);
    });
    assert!(checked.fine().stdout.contains(" 0 failed"), "its tests need no edit");
    for (event, _, application) in WORKFLOWS {
        assert_workflow(&routes, event, application);
    }
    for (slug, workflow) in OTHERS {
        assert_workflow(&routes, slug, workflow);
    }
}

#[test]
fn nothing_private_goes_out_and_codes_and_links_take_the_careful_route() {
    let routes = repository("examples/novu-clerk-guide/routes.yaml");
    for (event, _, _) in WORKFLOWS {
        let (route, body) = sent(&routes, event);
        let body = body.to_string();
        for unwanted in ["private_metadata", "unsafe_metadata", "stripe", "<html", "body_plain", "en_US", "\"ema_"] {
            assert!(!body.contains(unwanted), "{event} has {unwanted}: {body}");
        }
        let secret = body.contains("\"otp_code\"") || body.contains("\"magic_link\"");
        assert_eq!(secret, route == "codes-and-links", "{event}: {body}");
    }
}

#[test]
fn an_old_code_or_link_is_never_sent() {
    let novu = Novu::start();
    let place = Place::empty();
    let text = fs::read_to_string(repository("examples/novu-clerk-guide/routes.yaml")).expect("routes.yaml");
    place.write_rules(&rules(novu.address, "").replace("routes:\n", &text));
    let gateway = place.start();
    let eleven_minutes_ago = json!(now() - 11 * 60_000);
    for slug in ["verification_code", "reset_password_code", "magic_link_sign_in", "passkey_added"] {
        let changes = [("timestamp", eleven_minutes_ago.clone()), ("data.delivered_by_clerk", json!(false))];
        let answer = gateway.send(&format!("msg_{slug}"), &sample_with(&format!("email.created/{slug}"), &changes));
        assert_eq!(answer.outcome(), "accepted", "{slug}");
    }
    gateway.drain();
    assert_eq!(gateway.ended("codes-and-links", "expired"), 3.0);
    let sent: Vec<Value> = novu.requests().into_iter().map(|request| request.body["name"].clone()).collect();
    assert_eq!(sent, ["security-passkey-created"]);
}
