//! What can be asked, and where the answers come from.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::oneshot;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::{AppState, Question, RollBack, page};
use crate::clock;
use crate::model::ModelName;
use crate::model::name::NameError;
use crate::pipeline::command::{Answer, Refusal};
use crate::pipeline::command::{Command, CommandRequest};
use crate::results::{CATALOG_FILE, Catalog, Record};
use crate::status::now::Now;
use crate::status::{Status, metrics};
use crate::store::hidden_folder;
use crate::text::chain;

/// A loop that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that is answered.
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
        .route("/models/{name}/resume", post(resume))
        .route("/models/{name}/rebuild", post(rebuild))
        .route("/models/{name}/pause", post(pause))
        .with_state(app)
}

impl AppState {
    async fn now(&self) -> Result<Now, Response> {
        let (reply, answer) = oneshot::channel();
        let _ = self.questions.send(Question::Now(reply));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(now)) => Ok(now),
            Ok(Err(_)) => Err(ending()),
            Err(_) => {
                let message = "the loop does not answer".to_owned();
                let help = "look into marwatch's log; a service manager restarts it".to_owned();
                Err(refuse(StatusCode::SERVICE_UNAVAILABLE, Refusal { message, help }))
            }
        }
    }

    /// Tells how everything is: put together and made into what is sent off the loop's thread.
    async fn status<T: Send + 'static>(
        &self,
        tell: impl FnOnce(Status) -> T + Send + 'static,
    ) -> Result<T, Response> {
        let now = self.now().await?;
        let (app, history) = (self.clone(), Arc::clone(&self.history).lock_owned().await);
        let read = tokio::task::spawn_blocking(move || {
            let mut history = history;
            history.refresh()?;
            let time = clock::timestamp();
            let catalog = Catalog::read(&hidden_folder(&app.store).join(CATALOG_FILE))?;
            let catalog = catalog.unwrap_or_else(|| Catalog::empty(time));
            Ok::<_, std::io::Error>(tell(Status::of(app.store, time, Some(now), catalog, &history)))
        });
        let failed = |error: &dyn std::error::Error| {
            let message = format!("cannot read the catalog or the results log: {}", chain(error));
            let help = "see to the store's hidden folder".to_owned();
            refuse(StatusCode::INTERNAL_SERVER_ERROR, Refusal { message, help })
        };
        match read.await {
            Ok(told) => told.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

async fn ready(State(app): State<AppState>) -> Response {
    match app.now().await {
        Ok(now) if now.daemon.ready => "ready\n".into_response(),
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, "the watched folders are being listed\n")
            .into_response(),
        Err(refusal) => refusal,
    }
}

async fn models(State(app): State<AppState>) -> Result<Response, Response> {
    let text = app.status(|status| serde_json::to_vec(&status).unwrap_or_default()).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn model(State(app): State<AppState>, UrlPath(name): UrlPath<String>) -> Response {
    let wanted = name.clone();
    let found = app.status(move |status| {
        let mut models = status.models.into_iter();
        models.find(|model| model.model == wanted)
    });
    match found.await {
        Ok(Some(model)) => Json(model).into_response(),
        Ok(None) => {
            let message = format!("there is no model `{name}`");
            let help = "GET /models names those that there are".to_owned();
            refuse(StatusCode::NOT_FOUND, Refusal { message, help })
        }
        Err(refusal) => refusal,
    }
}

/// The records from now on, as server-sent events.
async fn results(State(app): State<AppState>) -> Response {
    let Some(records) = app.records.upgrade().map(|records| records.subscribe()) else {
        return ending();
    };
    let events = BroadcastStream::new(records).map(|next| match next {
        Ok(record) => Event::default().event("record").json_data::<&Record>(&record),
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Ok(Event::default().event("missed").data(missed.to_string()))
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

async fn text(State(app): State<AppState>) -> Result<Response, Response> {
    let metrics = Arc::clone(&app.metrics);
    let text = app.status(move |status| metrics.text(&status)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn rescan(State(app): State<AppState>) -> Response {
    let (reply, answer) = oneshot::channel();
    let _ = app.questions.send(Question::Rescan(reply));
    match answer.await {
        Ok(()) => {
            let message = "looking at every model".to_owned();
            (StatusCode::ACCEPTED, Json(Answer { message, record: None })).into_response()
        }
        Err(_) => ending(),
    }
}

async fn roll_back(app: State<AppState>, name: UrlPath<String>, body: Bytes) -> Response {
    // Without a body it is the newest one.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    match serde_json::from_slice::<RollBack>(body) {
        Ok(RollBack { to }) => ask(app, name, Command::RollBack { to }).await,
        Err(error) => {
            let message = format!("the request is not understood: {error}");
            let help = "send {\"to\": GENERATION}, or nothing".into();
            refuse(StatusCode::BAD_REQUEST, Refusal { message, help })
        }
    }
}

async fn resume(app: State<AppState>, name: UrlPath<String>) -> Response {
    ask(app, name, Command::Resume).await
}

async fn rebuild(app: State<AppState>, name: UrlPath<String>) -> Response {
    ask(app, name, Command::Rebuild).await
}

async fn pause(app: State<AppState>, name: UrlPath<String>) -> Response {
    ask(app, name, Command::Pause).await
}

async fn ask(
    State(app): State<AppState>,
    UrlPath(name): UrlPath<String>,
    command: Command,
) -> Response {
    let name = match ModelName::parse(&name) {
        Ok(name) => name,
        Err(error) => {
            let refusal = Refusal { message: error.to_string(), help: NameError::HELP.to_owned() };
            return refuse(StatusCode::BAD_REQUEST, refusal);
        }
    };
    let (reply, answer) = oneshot::channel();
    app.commands.send(CommandRequest { name, command, reply });
    match answer.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refusal)) => refuse(StatusCode::CONFLICT, refusal),
        Err(_) => ending(),
    }
}

fn ending() -> Response {
    let message = "marwatch is ending".to_owned();
    let help = "ask again when it has ended, or runs again".to_owned();
    refuse(StatusCode::SERVICE_UNAVAILABLE, Refusal { message, help })
}

pub(super) fn refuse(status: StatusCode, refusal: Refusal) -> Response {
    (status, Json(refusal)).into_response()
}
