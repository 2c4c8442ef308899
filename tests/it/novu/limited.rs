//! Novu's limit: a bucket that holds a tenth more than what flows in within five seconds.

use std::sync::Mutex;
use std::time::Instant;

use super::{Behaviour, Request};

const WINDOW: f64 = 5.0;

/// Processes what the bucket can pay for, and says in every answer what the limit is. A call for many costs 100.
pub fn limited(per_second: u32) -> impl Fn(&Request, usize) -> Behaviour + Send + Sync {
    let (rate, quota) = (f64::from(per_second), f64::from(per_second) * WINDOW);
    let full = (quota * 1.1).floor();
    let bucket = Mutex::new((full, Instant::now()));
    move |request, _| {
        let (tokens, filled_at) = &mut *bucket.lock().expect("the bucket");
        *tokens = full.min(*tokens + filled_at.elapsed().as_secs_f64() * rate);
        *filled_at = Instant::now();
        let cost = if request.is_bulk() { 100.0 } else { 1.0 };
        let paid = *tokens >= cost;
        let missing = if paid { 0.0 } else { cost - *tokens };
        *tokens -= if paid { cost } else { 0.0 };
        let (remaining, reset) = (tokens.floor(), (missing / rate).ceil());
        let limit = format!(
            "RateLimit-Limit: {quota}\r\nRateLimit-Remaining: {remaining}\r\nRateLimit-Reset: {reset}\r\n\
             RateLimit-Policy: {quota};w={WINDOW};burst={full};comment=\"token bucket\";category=\"trigger\"\r\n"
        );
        match paid {
            true => Behaviour::Reply(201, limit, request.processed().to_string()),
            false => {
                Behaviour::Reply(429, format!("{limit}Retry-After: {reset}\r\n"), r#"{"statusCode":429}"#.to_owned())
            }
        }
    }
}
