//! The half that all of them have: HTTP, the signature, and JSON.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use deskbell::verify::Secret;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

use crate::webhook::SECRET;

/// A webhook that was signed.
pub struct Webhook {
    pub id: String,
    pub user: String,
    pub body: Bytes,
}

/// Runs on this thread alone.
pub fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, work);
}

/// Serves webhooks for ever. Each connection has an own `keep`, which ends when a webhook may be answered.
pub async fn serve<K: AsyncFn(Webhook) + 'static>(address: SocketAddr, connected: impl AsyncFn() -> K) {
    let secret = Rc::new(Secret::parse(SECRET).expect("a secret"));
    let listener = TcpListener::bind(address).await.expect("the address");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let (keep, secret) = (Rc::new(connected().await), secret.clone());
        let service = service_fn(move |request| {
            let (keep, secret) = (keep.clone(), secret.clone());
            async move {
                let webhook = verified(&secret, request).await;
                let status = if webhook.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
                if let Some(webhook) = webhook {
                    keep(webhook).await;
                }
                let mut answer = Response::new(Full::new(Bytes::from_static(b"{\"outcome\":\"accepted\"}")));
                *answer.status_mut() = status;
                Ok::<_, Infallible>(answer)
            }
        });
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn verified(secret: &Secret, request: Request<Incoming>) -> Option<Webhook> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name)?.to_str().ok();
    let body = body.collect().await.ok()?.to_bytes();
    let id = header("svix-id")?;
    if secret.sign(id, header("svix-timestamp")?, &body) != header("svix-signature")? {
        return None;
    }
    let json: Value = serde_json::from_slice(&body).ok()?;
    Some(Webhook { id: id.to_owned(), user: json["data"]["id"].as_str()?.to_owned(), body })
}
