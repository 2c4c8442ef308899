//! From the address of a store to a server and how to speak with it.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

pub struct Address {
    pub config: Config,
    pub tls: MakeRustlsConnect,
    /// Without the password.
    pub name: String,
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…&sslrootcert=…`, as libpq does: `disable`, `prefer` (the
    /// default) and `require` take any certificate; `verify-full` checks it, with the certificates of `sslrootcert` or
    /// those of the system.
    ///
    /// # Errors
    /// What is wrong with it, without what it says.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut others) = ("prefer".to_owned(), None, Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => mode = value.into_owned(),
                "sslrootcert" => roots = Some(value.into_owned()),
                _ => others.push((name, value)),
            }
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish().replace('+', "%20");
        let mut config: Config = format!("{address}?{query}").parse().map_err(|_| EXPECTED.to_owned())?;
        let (ssl, checks) = match &*mode {
            "disable" => (SslMode::Disable, false),
            "prefer" => (SslMode::Prefer, false),
            "require" => (SslMode::Require, roots.is_some()),
            "verify-full" => (SslMode::Require, true),
            _ => return Err("`sslmode` is one of `disable`, `prefer`, `require`, `verify-full`".to_owned()),
        };
        config.ssl_mode(ssl).application_name("deskbell").tcp_user_timeout(UNACKNOWLEDGED);
        let host = host(address);
        if config.get_hosts().is_empty() {
            return Err(EXPECTED.to_owned());
        }
        let tls = MakeRustlsConnect::new(tls(checks, roots.as_deref())?);
        Ok(Self { config, tls, name: host })
    }
}

const EXPECTED: &str = "expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`";

/// Where it leads to, and nothing that is secret.
fn host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("postgres://{place}")
}

fn tls(checks: bool, roots: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match checks {
        true => {
            let roots = Arc::new(root_certificates(roots)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| error.to_string())?)
        }
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    Ok(builder.with_no_client_auth())
}

fn root_certificates(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let certificates = match file.filter(|file| *file != "system") {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| format!("`sslrootcert` cannot be read: {error}"))?,
    };
    store.add_parsable_certificates(certificates);
    match store.is_empty() {
        true => {
            Err("there is no root certificate to check the server's with; name a file with `sslrootcert`".to_owned())
        }
        false => Ok(store),
    }
}

/// Encrypts, and takes whoever answers: what `sslmode=require` means to every other client.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
