//! How commands ask a gateway that runs, at its admin address.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::Failure;
use super::serve::{admin_token, runtime};
use crate::novu;

/// No answer takes this long: dropping a million deliveries takes a minute.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Args)]
pub struct GatewayArgument {
    /// The admin address of the gateway
    #[arg(long, env = "DESKBELL_GATEWAY", value_name = "URL", default_value = "http://127.0.0.1:9464")]
    gateway: String,
}

/// The way to a gateway.
pub struct Gateway<'a> {
    argument: &'a GatewayArgument,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Gateway<'_> {
    /// Asks for what is at a path, given by its parts, and returns the JSON of the answer.
    pub fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut url = Url::parse(&self.argument.url("")).map_err(|error| self.argument.unusable(&error))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut().extend_pairs(query);
        self.exchange(self.client.get(url))
    }

    /// Posts JSON to a path, and returns the JSON of the answer.
    pub fn post(&self, path: &str, body: String) -> Result<Value, Failure> {
        let request = self.client.post(self.argument.url(path));
        self.exchange(request.header(CONTENT_TYPE, "application/json").body(body))
    }

    fn exchange(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let request = match admin_token() {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        self.runtime.block_on(async {
            let unreachable = |error| self.argument.unreachable(&error);
            let response = request.timeout(PATIENCE).send().await.map_err(unreachable)?;
            let status = response.status();
            let answer = response.text().await.map_err(unreachable)?;
            self.argument.read(status, &answer)
        })
    }
}

impl GatewayArgument {
    pub fn open(&self) -> Result<Gateway<'_>, Failure> {
        Ok(Gateway { argument: self, client: client(&self.gateway)?, runtime: runtime()? })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway.trim_end_matches('/'))
    }

    fn read(&self, status: StatusCode, answer: &str) -> Result<Value, Failure> {
        let json: Option<Value> = serde_json::from_str(answer).ok();
        let told = |json: &Value| json["error"]["message"].as_str().map(str::to_owned);
        match (status, json) {
            (StatusCode::OK, Some(json)) => Ok(json),
            (StatusCode::UNAUTHORIZED, _) => Err(Failure {
                hint: Some("set `DESKBELL_ADMIN_TOKEN` to the token that the gateway was started with".to_owned()),
                ..Failure::not_fine(format!("the gateway at {} does not take this token, or none", self.gateway))
            }),
            (status, json) => match (status, json.as_ref().and_then(told)) {
                (StatusCode::BAD_REQUEST, Some(message)) => Err(Failure::usage(message)),
                (_, Some(message)) if json.is_some_and(|json| json["error"]["code"] != "not_found") => {
                    Err(Failure::not_fine(message))
                }
                _ => Err(Failure {
                    hint: Some("name the admin address of a gateway with `--gateway URL`".to_owned()),
                    ..Failure::not_fine(format!("{} answers {}, as no gateway does", self.gateway, status.as_u16()))
                }),
            },
        }
    }

    fn unusable(&self, error: &dyn Display) -> Failure {
        Failure {
            hint: Some("such as `http://127.0.0.1:9464`".to_owned()),
            ..Failure::usage(format!("`{}` cannot be asked: {error}", self.gateway))
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        match error.is_builder() {
            true => self.unusable(error),
            false => Failure {
                hint: Some("start one, or name its admin address with `--gateway URL`".to_owned()),
                ..Failure::not_fine(format!("no gateway answers at {}", self.gateway))
            },
        }
    }
}

/// An HTTP client for an address. What is on this machine is no matter of a proxy.
pub fn client(url: &str) -> Result<reqwest::Client, Failure> {
    let builder = match Url::parse(url).is_ok_and(|url| is_loopback(&url)) {
        true => novu::client_builder().no_proxy(),
        false => novu::client_builder(),
    };
    builder.build().map_err(|error| Failure::not_fine(error.to_string()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
