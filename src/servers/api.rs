//! The management API of a Multi-Model-Server, as far as swaps and trials need it.
//!
//! `docs/server.md` describes when it answers what.

mod secrets;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::answer::{Answer, Live};
use super::registration::Registration;
use super::worker_log::Mark;
use crate::config::Server;
use crate::model::{Batching, ModelName, Probe};
use crate::text::chain;
use secrets::ApiError;

/// The time limit for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The time limit for requests that start no workers.
const QUICK: Duration = Duration::from_secs(15);
/// Models on a page of the list: the most that the server gives.
const PAGE: usize = 100;
/// The most pages to read, in case a server goes on without end.
const MOST_PAGES: usize = 1000;
/// The most characters to show of an error's text.
const MOST_SHOWN: usize = 2000;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    server: Arc<Server>,
    /// Sent with each request to the management API.
    secrets: HeaderMap,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    model_version: Option<String>,
    batch_size: Option<usize>,
    /// In milliseconds.
    max_batch_delay: Option<u64>,
    #[serde(default)]
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Worker {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    models: Vec<Named>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    model_name: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    message: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Api {
    /// A client of `server`. Reads the files that its settings name.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn new(server: Arc<Server>) -> Result<Self, ApiError> {
        // Fails after the first time, when the same provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secrets = secrets::of(&server)?;
        let mut client = Client::builder()
            .connect_timeout(CONNECT)
            .no_proxy()
            // A restarted server has closed its connections.
            .pool_idle_timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &server.ca_file {
            let certificates =
                Certificate::from_pem_bundle(&secrets::read(path)?).map_err(ApiError::Client)?;
            client = client.tls_certs_merge(certificates);
        }
        let client = client.build().map_err(ApiError::Client)?;
        Ok(Self { client, server, secrets })
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    fn request(&self, method: Method, path: &str, timeout: Duration) -> RequestBuilder {
        let url = format!("{}{path}", self.server.management);
        self.client.request(method, url).timeout(timeout).headers(self.secrets.clone())
    }

    /// Asks what is registered under a name.
    pub async fn describe(&self, name: &ModelName) -> Answer {
        let request = self.request(Method::GET, &format!("/models/{name}"), self.quick());
        let response = match request.send().await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => return Answer::Absent,
            Ok(response) if response.status().is_success() => response,
            other => return answer_of(other).await,
        };
        let text = match response.bytes().await {
            Ok(text) => text,
            Err(error) => return Answer::Lost(chain(&error.without_url())),
        };
        match serde_json::from_slice(&text) {
            Ok(OneOrMany::One(found)) => live(Some(found)),
            Ok(OneOrMany::Many(found)) => live(found.into_iter().next()),
            Err(error) => Answer::Refused(format!("cannot parse its answer: {error}")),
        }
    }

    /// The names of all models, page by page.
    ///
    /// # Errors
    /// Why the server does not list them.
    pub async fn list(&self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        let mut path = format!("/models?limit={PAGE}");
        for _ in 0..MOST_PAGES {
            let response = self.request(Method::GET, &path, self.quick()).send().await;
            let response = response.map_err(|error| chain(&error.without_url()))?;
            if !response.status().is_success() {
                return Err(response.status().to_string());
            }
            let text = response.bytes().await.map_err(|error| chain(&error.without_url()))?;
            let page: Page = serde_json::from_slice(&text).map_err(|error| chain(&error))?;
            names.extend(page.models.into_iter().map(|model| model.model_name));
            let Some(next) = page.next_page_token else { break };
            let query = [("limit", PAGE.to_string()), ("next_page_token", next)];
            path = format!("/models?{}", encoded(&query));
        }
        Ok(names)
    }

    /// Registers the archive at `url`, relative to the model store, and waits until its workers are up.
    pub async fn register(&self, name: &str, url: &str, registration: &Registration) -> Answer {
        let Registration { workers, batching, .. } = registration;
        let mut query = vec![
            ("url", url.to_owned()),
            ("model_name", name.to_owned()),
            ("initial_workers", workers.to_string()),
            ("synchronous", "true".to_owned()),
        ];
        if let Some(size) = batching.batch_size {
            query.push(("batch_size", size.to_string()));
        }
        if let Some(delay) = batching.max_batch_delay {
            query.push(("max_batch_delay", delay.as_millis().to_string()));
        }
        if let Some(timeout) = batching.response_timeout {
            // The server counts in minutes.
            query.push(("response_timeout", timeout.as_secs().div_ceil(60).max(1).to_string()));
        }
        let path = format!("/models?{}", encoded(&query));
        let log = self.server.worker_log.as_deref().map(Mark::at_end);
        let answer = self.request(Method::POST, &path, self.server.timeout).send().await;
        match (answer_of(answer).await, log) {
            (Answer::Refused(why), Some(log)) => match log.traceback(name).await {
                Some(traceback) => Answer::Refused(format!("{why}; its worker: {traceback}")),
                None => Answer::Refused(why),
            },
            (answer, _) => answer,
        }
    }

    /// Sets the number of a model's workers.
    pub async fn scale(&self, name: &ModelName, workers: usize) -> Answer {
        let query = [
            ("min_worker", workers.to_string()),
            ("max_worker", workers.to_string()),
            ("synchronous", "true".to_owned()),
        ];
        let path = format!("/models/{name}?{}", encoded(&query));
        answer_of(self.request(Method::PUT, &path, self.server.timeout).send().await).await
    }

    /// Unregisters a name.
    pub async fn unregister(&self, name: &str) -> Answer {
        let path = format!("/models/{name}");
        answer_of(self.request(Method::DELETE, &path, self.server.timeout).send().await).await
    }

    /// Sends a probe to a model; good if no address is known to send it to.
    pub async fn probe(&self, name: &str, probe: &Probe) -> Answer {
        let server = &self.server;
        let Some(inference) = &server.inference else { return Answer::Good };
        let body = match (&probe.body, &probe.body_file) {
            (Some(body), _) => Some(body.clone().into_bytes()),
            (None, Some(path)) => match fs::read(path) {
                Ok(body) => Some(body),
                Err(error) => {
                    let path = path.display();
                    return Answer::Lost(format!("cannot read the probe's body {path}: {error}"));
                }
            },
            (None, None) => None,
        };
        let url = format!("{inference}{}", probe.path.replace("{name}", name));
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let request = self.client.request(method, url).timeout(server.timeout);
        let request = request.body(body.unwrap_or_default());
        match request.send().await {
            Ok(response) if response.status().as_u16() == probe.expect_status => Answer::Good,
            Ok(response) => {
                let (wanted, got) = (probe.expect_status, response.status());
                let text = error_text(response).await;
                Answer::Refused(format!("the probe was answered by {got}, not {wanted}: {text}"))
            }
            Err(error) => Answer::Lost(chain(&error.without_url())),
        }
    }

    fn quick(&self) -> Duration {
        QUICK.min(self.server.timeout)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Described>),
    One(Described),
}

fn live(found: Option<Described>) -> Answer {
    let Some(found) = found else { return Answer::Absent };
    let ready = found.workers.iter().filter(|worker| worker.status == "READY").count();
    let (version, workers) = (found.model_version, found.workers.len());
    let batching = Batching {
        batch_size: found.batch_size,
        max_batch_delay: found.max_batch_delay.map(Duration::from_millis),
        response_timeout: None,
    };
    Answer::Live(Live { version, workers, ready, batching })
}

fn encoded(query: &[(&str, String)]) -> String {
    let mut text = reqwest::Url::parse("http://x").ok();
    if let Some(url) = &mut text {
        url.query_pairs_mut().extend_pairs(query);
    }
    text.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

async fn answer_of(response: Result<Response, reqwest::Error>) -> Answer {
    match response {
        Ok(response) => match response.status() {
            status if status.is_success() => Answer::Good,
            StatusCode::NOT_FOUND => Answer::Absent,
            StatusCode::CONFLICT => Answer::Taken,
            // A proxy got no answer from the server, or one of them is overloaded: not the archive's
            // fault.
            status @ (StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS) => {
                Answer::Lost(format!("{status}: {}", error_text(response).await))
            }
            status => Answer::Refused(format!("{status}: {}", error_text(response).await)),
        },
        Err(error) => Answer::Lost(chain(&error.without_url())),
    }
}

/// The text of an error: the server's own words, if it answers with its usual JSON.
async fn error_text(response: Response) -> String {
    let text = response.text().await.unwrap_or_default();
    let words = serde_json::from_str::<ErrorBody>(&text).ok().and_then(|body| {
        let message = body.message?;
        Some(body.kind.map_or(message.clone(), |kind| format!("{kind}: {message}")))
    });
    let words = words.unwrap_or_else(|| text.trim().to_owned());
    words.chars().take(MOST_SHOWN).collect()
}

#[cfg(test)]
mod tests;
