//! The way to the server is encrypted, and the server is who it says it is, if that is wanted.

use std::path::Path;
use std::process::Command;

use crate::harness::{Place, WELCOME, sample};
use crate::novu::Novu;
use crate::server::{NOBODY, Server};

/// A certificate for this machine that nobody else has signed.
fn certificate(folder: &Path) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=deskbell", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(folder.join("server.key"));
    let made = command.arg("-out").arg(folder.join("server.crt")).output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn the_connection_is_encrypted_and_the_server_known_as_far_as_the_address_asks_for_it() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    certificate(place.folder.path());
    let (key, found) = (place.path("server.key"), place.path("server.crt"));
    // The server reads its key alone.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(place.folder.path(), Some(NOBODY), None).expect("a folder of nobody's");
        std::os::unix::fs::chown(&key, Some(NOBODY), None).expect("a key of nobody's");
    }
    let settings =
        ["ssl=on".to_owned(), format!("ssl_key_file={}", key.display()), format!("ssl_cert_file={}", found.display())];
    let server = Server::start_in(&std::env::temp_dir(), settings.into());
    server.create("deskbell");
    let url = server.url("deskbell");
    let roots = found.display();
    for (number, options) in
        ["sslmode=require", "sslmode=prefer", &format!("sslmode=verify-full&sslrootcert={roots}")].iter().enumerate()
    {
        let gateway = place.start_with(|command| {
            command.env("DESKBELL_STORE", format!("{url}?{options}"));
        });
        let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'deskbell'";
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
        assert_ne!(crate::server::ask(&url, encrypted), ["0"], "{options}");
        assert_eq!(gateway.stop(), Some(0));
    }
    for (options, why) in [
        ("sslmode=verify-full", "certificate"),
        ("sslmode=verify-full&sslrootcert=missing.crt", "`sslrootcert` cannot be read"),
    ] {
        let (status, said) = place.refuses_to_start(|command| {
            command.env("DESKBELL_STORE", format!("{url}?{options}")).env("DESKBELL_SHUTDOWN_GRACE", "0");
        });
        assert_eq!(status, Some(78), "{said}");
        assert!(said.contains(why), "{options}: {said}");
    }
}
