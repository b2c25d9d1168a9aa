//! The requests that the daemon answers.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::{AppState, Question, RollBack, page};
use crate::clock;
use crate::model::ModelName;
use crate::model::name::NameError;
use crate::pipeline::command::{Answer, Command, CommandRequest, Refusal};
use crate::results::{CATALOG_FILE, Catalog, Record};
use crate::status::now::Now;
use crate::status::{Status, metrics};
use crate::store::hidden_folder;
use crate::text::chain;

/// A loop that does not answer for so long is stuck.
const LOOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn router(app: AppState) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/models", get(models))
        .route("/models/{name}", get(model))
        .route("/results", get(results))
        .route("/metrics", get(text))
        .route("/rescan", post(rescan))
        .route("/models/{name}/rollback", post(roll_back))
        .route("/models/{name}/resume", command(Command::Resume))
        .route("/models/{name}/rebuild", command(Command::Rebuild))
        .route("/models/{name}/pause", command(Command::Pause))
        .with_state(app)
}

/// Answers a command that takes no arguments.
fn command(command: Command) -> MethodRouter<AppState> {
    post(move |State(app): State<AppState>, UrlPath(name): UrlPath<String>| async move {
        app.command(&name, command).await
    })
}

impl AppState {
    /// Asks the loop.
    async fn ask<T>(&self, to: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Response> {
        let (reply, answer) = oneshot::channel();
        let _ = self.questions.send(to(reply));
        answer.await.map_err(|_| stopping())
    }

    async fn now(&self) -> Result<Now, Response> {
        let Ok(answer) = timeout(LOOP_TIMEOUT, self.ask(Question::Now)).await else {
            let message = "the daemon's loop does not answer";
            let help = "see marwatch's log; a service manager with a watchdog restarts marwatch";
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, message, help));
        };
        answer
    }

    /// What `read` makes of the status. Both are computed off the loop's thread.
    async fn status<T: Send + 'static>(
        &self,
        read: impl FnOnce(Status) -> T + Send + 'static,
    ) -> Result<T, Response> {
        let now = self.now().await?;
        let store = self.store.clone();
        let mut history = Arc::clone(&self.history).lock_owned().await;
        let status = tokio::task::spawn_blocking(move || {
            history.refresh()?;
            let time = clock::timestamp();
            let catalog = Catalog::read(&hidden_folder(&store).join(CATALOG_FILE))?;
            let catalog = catalog.unwrap_or_else(|| Catalog::empty(time));
            Ok::<_, io::Error>(read(Status::of(store, time, Some(now), catalog, &history)))
        });
        let failed = |error: &dyn Error| {
            let message = format!("cannot read the catalog or the results log: {}", chain(error));
            let help = "check the store's hidden folder";
            refuse(StatusCode::INTERNAL_SERVER_ERROR, message, help)
        };
        status.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    async fn command(&self, name: &str, command: Command) -> Result<Response, Response> {
        let name = ModelName::parse(name)
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string(), NameError::HELP))?;
        let (reply, answer) = oneshot::channel();
        self.commands.send(CommandRequest { name, command, reply });
        let answer = answer.await.map_err(|_| stopping())?;
        let refused = |refusal| (StatusCode::CONFLICT, Json::<Refusal>(refusal)).into_response();
        Ok(Json(answer.map_err(refused)?).into_response())
    }
}

async fn ready(State(app): State<AppState>) -> Result<Response, Response> {
    Ok(if app.now().await?.daemon.ready {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "listing the watched folders\n").into_response()
    })
}

async fn models(State(app): State<AppState>) -> Result<Response, Response> {
    let text = app.status(|status| serde_json::to_vec(&status).unwrap_or_default()).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn model(
    State(app): State<AppState>,
    UrlPath(name): UrlPath<String>,
) -> Result<Response, Response> {
    let wanted = name.clone();
    let find = move |status: Status| status.models.into_iter().find(|model| model.model == wanted);
    let Some(model) = app.status(find).await? else {
        let message = format!("there is no model `{name}`");
        return Err(refuse(StatusCode::NOT_FOUND, message, "`GET /models` lists all models"));
    };
    Ok(Json(model).into_response())
}

/// New records, as server-sent events.
async fn results(State(app): State<AppState>) -> Result<Response, Response> {
    let records = app.records.upgrade().ok_or_else(stopping)?.subscribe();
    let events = BroadcastStream::new(records).map(|next| match next {
        Ok(record) => Event::default().event("record").json_data::<&Record>(&record),
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Ok(Event::default().event("missed").data(missed.to_string()))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

async fn text(State(app): State<AppState>) -> Result<Response, Response> {
    let metrics = Arc::clone(&app.metrics);
    let text = app.status(move |status| metrics.text(&status)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn rescan(State(app): State<AppState>) -> Result<Response, Response> {
    app.ask(Question::Rescan).await?;
    let answer = Answer { message: "scanning every model".to_owned(), record: None };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

async fn roll_back(
    State(app): State<AppState>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> Result<Response, Response> {
    // Without a body, the newest earlier archive.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let RollBack { to } = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the request's body is invalid: {error}");
        refuse(StatusCode::BAD_REQUEST, message, "send {\"to\": GENERATION}, or no body")
    })?;
    app.command(&name, Command::RollBack { to }).await
}

fn stopping() -> Response {
    let help = "try again when it has stopped, or after it has started again";
    refuse(StatusCode::SERVICE_UNAVAILABLE, "marwatch is stopping", help)
}

pub(super) fn refuse(
    status: StatusCode,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Response {
    (status, Json(Refusal { message: message.into(), help: help.into() })).into_response()
}
