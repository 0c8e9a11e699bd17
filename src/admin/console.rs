//! The console: one page about the running router, with what it is made of. It loads nothing from
//! elsewhere. Its files hold no data and are served to everybody; what they ask for is guarded as
//! the rest of the listener is, and what changes something wants the token.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};

use super::{AdminAccess, AdminView, admit};

mod commands;
mod files;
mod history;
mod live;
mod runs;

pub use commands::OwnCommands;
pub(super) use history::HourHistory;
use runs::ConsoleProblem;

/// Bytes of a request's body.
const MAX_BODY: usize = 256 << 10;

/// State of the handlers.
#[derive(Clone)]
struct ConsoleState {
    view: AdminView,
    history: Arc<HourHistory>,
    /// True if clients that have the token may change something.
    changes: bool,
}

/// Routes of the console, each with its guard.
pub(super) fn routes<S>(view: AdminView, guard: &Arc<AdminAccess>, history: Arc<HourHistory>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let state = ConsoleState { view, history, changes: matches!(**guard, AdminAccess::Token(_)) };
    let changes = Router::new()
        .route("/console/explain", post(runs::explain))
        .route("/console/letters/retry", post(runs::retry_letters))
        .route("/console/letters/drop", post(runs::drop_letters))
        .route("/console/deliveries/retry", post(runs::retry_deliveries))
        .route_layer(from_fn_with_state(state.clone(), wants_token));
    Router::new()
        .route("/console/feed", get(live::feed))
        .route("/console/letters", get(runs::letters))
        .route("/console/deliveries", get(runs::deliveries))
        .merge(changes)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route_layer(from_fn_with_state(Arc::clone(guard), admit))
        .merge(files::routes())
        .with_state(state)
}

/// Refuses changes where no token is configured: any local process could make them.
async fn wants_token(
    State(console): State<ConsoleState>,
    request: Request,
    next: Next,
) -> Result<Response, ConsoleProblem> {
    if console.changes { Ok(next.run(request).await) } else { Err(ConsoleProblem::read_only()) }
}
