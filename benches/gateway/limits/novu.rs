//! A connection to Novu.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::server::Webhook;

pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub async fn to(novu: SocketAddr) -> Self {
        let stream = TcpStream::connect(novu).await.expect("Novu");
        stream.set_nodelay(true).expect("no delay");
        let (requests, connection) = handshake(TokioIo::new(stream)).await.expect("Novu");
        spawn_local(connection);
        Self { requests, host: novu.to_string() }
    }

    /// Triggers a workflow for the user of a webhook.
    pub async fn trigger(&mut self, webhook: &Webhook) {
        let Webhook { id, user, .. } = webhook;
        let body = format!(r#"{{"name":"welcome","to":{{"subscriberId":"{user}"}},"transactionId":"{id}"}}"#);
        let request = Request::post("/v1/events/trigger")
            .header("host", &self.host)
            .header("authorization", "ApiKey key-of-the-benchmark")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let answer = self.requests.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.into_body().collect().await.expect("an answer");
    }
}
