//! Novu's limit: a bucket of tokens, filled again only when it cannot pay.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Behaviour, Request};

/// A limit is told as so many tokens in this time; a tenth more may go at once.
const WINDOW: u32 = 5;
const BULK_COST: u32 = 100;
pub const TOO_MANY: &str = r#"{"statusCode":429,"message":"API rate limit exceeded"}"#;

pub struct Bucket {
    per_second: u32,
    tokens: u32,
    filled_at: Instant,
    /// Requests that it could not pay.
    pub refused: usize,
}

impl Bucket {
    pub fn new(per_second: u32) -> Self {
        let mut bucket = Self { per_second, tokens: 0, filled_at: Instant::now(), refused: 0 };
        bucket.tokens = bucket.most();
        bucket
    }

    /// The headers of an answer; those of a 429 if it cannot pay.
    pub fn take(&mut self, bulk: bool) -> Result<String, String> {
        let cost = if bulk { BULK_COST } else { 1 };
        let token = Duration::from_secs(1) / self.per_second;
        if self.tokens < cost {
            let earned = (self.filled_at.elapsed().as_nanos() / token.as_nanos()) as u32;
            self.filled_at += token * earned;
            self.tokens = (self.tokens + earned).min(self.most());
        }
        let Some(left) = self.tokens.checked_sub(cost) else {
            self.refused += 1;
            let reset = self.reset(cost, token);
            return Err(format!("{}Retry-After: {reset}\r\n", self.headers(0, reset, bulk)));
        };
        self.tokens = left;
        Ok(self.headers(left, self.reset(cost, token), bulk))
    }

    /// The most that it can hold.
    pub fn most(&self) -> u32 {
        self.per_second * WINDOW * 11 / 10
    }

    /// In how many seconds a request of that cost can be paid for certain.
    fn reset(&self, cost: u32, token: Duration) -> u64 {
        let missing = token * cost.saturating_sub(self.tokens).max(1);
        missing.saturating_sub(self.filled_at.elapsed()).as_secs_f64().ceil() as u64
    }

    fn headers(&self, left: u32, reset: u64, bulk: bool) -> String {
        let (limit, most, cost) = (self.per_second * WINDOW, self.most(), if bulk { "bulk" } else { "single" });
        format!(
            "RateLimit-Remaining: {left}\r\nRateLimit-Limit: {limit}\r\nRateLimit-Reset: {reset}\r\n\
             RateLimit-Policy: {limit};w={WINDOW};burst={most};comment=\"token bucket\";category=\"trigger\";\
             cost=\"{cost}\";serviceLevel=\"free\"\r\n"
        )
    }
}

/// Processes what the bucket can pay for, and says in every answer what the limit is.
pub fn limited(per_second: u32) -> impl Fn(&Request, usize) -> Behaviour + Send + Sync {
    let bucket = Mutex::new(Bucket::new(per_second));
    move |request, _| match bucket.lock().expect("the bucket").take(request.is_bulk()) {
        Ok(headers) => Behaviour::Reply(201, headers, request.processed().to_string()),
        Err(headers) => Behaviour::Reply(429, headers, TOO_MANY.to_owned()),
    }
}
