//! One listener: accept, read, answer, drain. Slow and large requests are refused here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The most connections to one listener; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// How long a request's headers may take, and then its body. Svix gives up after 15 s.
const HEADER_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
/// Longer than balancers keep idle connections (60 s by default), so that it is they who close.
const IDLE_TIME: Duration = Duration::from_secs(75);
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// What all bodies that are being read may take together, in bytes.
const BODY_BUDGET: usize = 128 << 20;
/// Most webhooks fit.
const FIRST_ROOM: usize = 8 * 1024;
/// How much of a body that is too large is read to its end, so that its sender gets to read the answer.
const MAX_DISCARD: u64 = 16 << 20;

pub type Answer = Response<Full<Bytes>>;

/// A JSON answer.
pub fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    // Nothing that is answered has keys that are no texts, which alone could fail.
    answer(status, "application/json", serde_json::to_vec(body).unwrap_or_default())
}

/// A refusal: `{"error":{"code","message"}}`.
pub fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    json_answer(status, &refusal_body(code, message))
}

fn refusal_body(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The wrong method for an address.
pub fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer =
        refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("this address takes {allowed}"));
    answer.headers_mut().insert(hyper::header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    Timeout,
    /// The sender has gone.
    Lost,
    /// All memory for bodies is in use.
    Busy,
}

/// Reads a body of at most `limit` bytes.
pub async fn read_body(request: Request<Incoming>, limit: usize) -> Result<Bytes, BodyError> {
    let (head, body) = request.into_parts();
    read_body_of(&head, body, limit).await
}

/// The same where the head of the request is still needed.
pub async fn read_body_of(head: &Parts, mut body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    static BUDGET: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(BODY_BUDGET));
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let waits_for_consent = head.headers.contains_key(EXPECT);
    let deadline = tokio::time::Instant::now() + BODY_TIME;
    if announced.is_some_and(|length| length > limit as u64) {
        if !waits_for_consent && announced.is_some_and(|length| length <= MAX_DISCARD) {
            let _ = tokio::time::timeout_at(deadline, discard(&mut body)).await;
        }
        return Err(BodyError::TooLarge);
    }
    let read = async {
        // What is announced costs its sender nothing: room is made for what arrives.
        let mut bytes = Vec::with_capacity(announced.map_or(0, |length| length as usize).min(FIRST_ROOM));
        let mut permits = BUDGET.try_acquire_many(bytes.capacity() as u32).map_err(|_| BodyError::Busy)?;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Lost)?.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                discard(&mut body).await;
                return Err(BodyError::TooLarge);
            }
            let missing = (bytes.len() + data.len()).saturating_sub(permits.num_permits());
            permits.merge(BUDGET.try_acquire_many(missing as u32).map_err(|_| BodyError::Busy)?);
            bytes.extend_from_slice(&data);
        }
        Ok(Bytes::from(bytes))
    };
    tokio::time::timeout_at(deadline, read).await.unwrap_or(Err(BodyError::Timeout))
}

async fn discard(body: &mut Incoming) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
        if discarded > MAX_DISCARD || body.is_end_stream() {
            return;
        }
    }
}

/// Serves a listener until `stop` says so; then lets the requests that are running end.
pub async fn serve<H, F, S>(listener: TcpListener, mut stop: watch::Receiver<bool>, slow: S, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
    S: Fn() + Clone + Send + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = next => match accepted {
                Ok((stream, _)) => {
                    let (stop, slow, handler) = (stop.clone(), slow.clone(), handler.clone());
                    connections.spawn(async move {
                        let _permit = permit;
                        connection(stream, stop, slow, handler).await;
                    });
                }
                // Out of file descriptors, most likely: those who are here will leave some.
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that has gone has stopped.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<H, F>(stream: TcpStream, mut stop: watch::Receiver<bool>, slow: impl Fn(), handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let _ = stream.set_nodelay(true);
    let clock = Arc::new(Clock::new());
    let io = TokioIo::new(Watched { stream, clock: clock.clone() });
    let service = service_fn(|request| {
        clock.set(Phase::Busy);
        let answer = handler(request);
        let clock = clock.clone();
        async move {
            let answer = answer.await;
            clock.set(Phase::Idle);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = http1::Builder::new().max_buf_size(MAX_HEADER_BYTES).serve_connection(io, service);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = Pin::new(&mut connection) => return,
            _ = tick.tick() => match clock.phase() {
                (Phase::Head, since) if since > HEADER_TIME => break slow(),
                (Phase::Idle, since) if since > IDLE_TIME => Pin::new(&mut connection).graceful_shutdown(),
                _ => {}
            },
            _ = stopped(&mut stop) => {
                Pin::new(&mut connection).graceful_shutdown();
                let _ = tokio::time::timeout(HEADER_TIME + BODY_TIME, connection).await;
                return;
            }
        }
    }
    let _ = refuse_slow_headers(connection.into_parts().io.into_inner()).await;
}

/// hyper would close the connection without a word.
async fn refuse_slow_headers(mut stream: Watched) -> std::io::Result<()> {
    let body = refusal_body("timeout", "the headers of the request came too slowly").to_string();
    let head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.shutdown().await
}

/// What a connection is doing, and since when: hyper's own timer does not tell an idle
/// connection from slow headers.
struct Clock {
    start: Instant,
    /// The phase in the lowest two bits, milliseconds since `start` above.
    state: AtomicI64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Busy,
}

impl Clock {
    fn new() -> Self {
        let clock = Self { start: Instant::now(), state: AtomicI64::new(0) };
        clock.set(Phase::Idle);
        clock
    }

    fn set(&self, phase: Phase) {
        let millis = self.start.elapsed().as_millis() as i64;
        self.state.store(millis << 2 | phase as i64, Ordering::Relaxed);
    }

    fn phase(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, self.start.elapsed().saturating_sub(Duration::from_millis((state >> 2).unsigned_abs())))
    }
}

/// A stream that notes when the first bytes of a request arrive.
struct Watched {
    stream: TcpStream,
    clock: Arc<Clock>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.clock.phase().0 == Phase::Idle {
            self.clock.set(Phase::Head);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
