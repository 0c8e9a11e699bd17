//! Changes of declarations. Each is answered when it is in force.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::MutexGuard, task::spawn_blocking, time::timeout};

use super::{
    ApiState, SharedState,
    access::ApiCaller,
    input,
    problem::ApiProblem,
    webhooks::{answer, shown},
};
use crate::{
    config::{self, Webhook},
    folder::{AddedWebhook, WebhookBook, WebhookBookError},
    webhook::store::WebhookId,
};

/// Webhooks that one tenant may have made.
const MAX_OF_TENANT: usize = 100;
/// Longest wait for a change to be in force.
const IN_FORCE: Duration = Duration::from_secs(10);

/// `POST /webhooks`
pub(super) async fn create(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    body: Bytes,
) -> Result<Response, ApiProblem> {
    let (name, fields) = input::new_webhook(&caller, input::object(&body)?)?;
    let mut pending = api.begin().await?;
    let webhooks = api.view.webhooks.borrow().clone();
    let own = webhooks.iter().filter(|webhook| caller.tenant().is_some() && caller.sees(webhook));
    if own.count() >= MAX_OF_TENANT {
        let detail = format!("there are {MAX_OF_TENANT} webhooks, and a tenant may have no more");
        return Err(ApiProblem::new(StatusCode::CONFLICT, "too_many_webhooks", detail).hint("remove one"));
    }
    let name = name.unwrap_or_else(|| WebhookId::new().to_string());
    if webhooks.iter().any(|webhook| webhook.name == name) {
        let detail = format!("there is a webhook `{name}` already");
        return Err(ApiProblem::new(StatusCode::CONFLICT, "webhook_exists", detail));
    }
    let store = Arc::clone(&api.view.store);
    let (added, secret) = api
        .edit(move |book| {
            let added = book.add(&name, fields)?;
            let secret = book.secret(&added.secret_file)?;
            // Left over from a webhook of this name that was removed.
            let enabled = store.enable(&name);
            Ok(enabled.map(|_| (added, secret)))
        })
        .await??;
    let AddedWebhook { webhook, .. } = added;
    let status = api.until_in_force(&mut pending, StatusCode::CREATED, &webhook.name, Some(&webhook)).await;
    Ok(answer(status, &with_secret(shown(&webhook, None), &secret)))
}

/// `PATCH /webhooks/NAME`
pub(super) async fn change(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, ApiProblem> {
    let fields = input::changed(&caller, input::object(&body)?)?;
    let mut pending = api.begin().await?;
    let webhook = api.own(&caller, &name)?;
    if caller != ApiCaller::Operator && webhook.allow_private && fields.iter().any(|(field, _)| *field == "url") {
        let detail = "its address may be a private one: `url` is for the operator to set";
        return Err(ApiProblem::new(StatusCode::FORBIDDEN, "operators_field", detail));
    }
    let changed = api.edit(move |book| book.change(&webhook, &fields)).await?;
    let status = api.until_in_force(&mut pending, StatusCode::OK, &name, Some(&changed)).await;
    Ok(answer(status, &shown(&changed, api.disabled(&name).await?.as_ref())))
}

/// `DELETE /webhooks/NAME`
pub(super) async fn remove(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
) -> Result<Response, ApiProblem> {
    let mut pending = api.begin().await?;
    let webhook = api.own(&caller, &name)?;
    let (store, removed) = (Arc::clone(&api.view.store), name.clone());
    // First: until the router has reloaded, it would store more for it.
    let cancelled = api.ask(move || store.disable(&removed, "it was removed", Timestamp::now())).await?;
    api.edit(move |book| book.remove(&webhook)).await?;
    let status = api.until_in_force(&mut pending, StatusCode::OK, &name, None).await;
    Ok(answer(status, &json!({ "name": name, "cancelled": cancelled })))
}

/// `POST /webhooks/NAME/rotate`, with `{"for": "7d"}` to give up the former secret after that, or
/// `{"finish": true}` to do so now
pub(super) async fn rotate(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, ApiProblem> {
    let mut members = input::object(&body)?;
    let finishes = match members.remove("finish") {
        None => false,
        Some(Value::Bool(finishes)) => finishes,
        Some(_) => return Err(ApiProblem::bad_body("`finish` must be `true` or `false`")),
    };
    let lasts = match members.remove("for") {
        None => None,
        Some(Value::String(text)) if !finishes => Some(config::duration(&text).map_err(ApiProblem::bad_body)?),
        Some(_) => return Err(ApiProblem::bad_body("`for` is a duration such as `\"7d\"`, without `finish`")),
    };
    if let Some(other) = members.keys().next() {
        let problem = ApiProblem::bad_body(format!("unknown field `{other}`"));
        return Err(problem.hint("known fields: `finish` and `for`"));
    }
    let mut pending = api.begin().await?;
    let webhook = api.own(&caller, &name)?;
    let disabled = api.disabled(&name).await?;
    if finishes {
        let changed = api.edit(move |book| book.finish_rotation(&webhook)).await?;
        let status = api.until_in_force(&mut pending, StatusCode::OK, &name, Some(&changed)).await;
        return Ok(answer(status, &shown(&changed, disabled.as_ref())));
    }
    let (changed, secret) = api
        .edit(move |book| {
            let (changed, secret_file) = book.rotate(&webhook, lasts)?;
            Ok((changed, book.secret(&secret_file)?))
        })
        .await?;
    let status = api.until_in_force(&mut pending, StatusCode::OK, &name, Some(&changed)).await;
    Ok(answer(status, &with_secret(shown(&changed, disabled.as_ref()), &secret)))
}

/// The only answers that hold a secret are those to who has just had it made.
fn with_secret(mut webhook: Value, secret: &str) -> Value {
    webhook["secret"] = secret.into();
    webhook
}

impl ApiState {
    /// Finds a webhook that the caller sees, and that may be changed here.
    fn own(&self, caller: &ApiCaller, name: &str) -> Result<Arc<Webhook>, ApiProblem> {
        let webhook = self.find(caller, name)?;
        if WebhookBook::is_own(&webhook) {
            return Ok(webhook);
        }
        let problem = ApiProblem::new(
            StatusCode::CONFLICT,
            "declared_elsewhere",
            format!("webhook `{name}` is declared by hand, and changed where it is"),
        );
        Err(match caller {
            ApiCaller::Operator => problem.hint(format!("it is at {}", webhook.place)),
            ApiCaller::Tenant(_) => problem.hint("ask the operator"),
        })
    }

    /// Changes files, on a thread that may block.
    async fn edit<T: Send + 'static>(
        &self,
        edit: impl FnOnce(WebhookBook<'_>) -> Result<T, WebhookBookError> + Send + 'static,
    ) -> Result<T, ApiProblem> {
        let (dir, keys) = (self.view.dir.clone(), self.view.keys.clone());
        let edited = spawn_blocking(move || edit(WebhookBook { dir: &dir, keys: &keys })).await;
        let edited = edited.context("a change panicked").map_err(|error| ApiProblem::internal(&error))?;
        Ok(edited?)
    }

    /// Begins a change. While another is not in force there is no further one, so that a folder
    /// that can't be loaded does not fill with changes.
    async fn begin(&self) -> Result<MutexGuard<'_, Option<PendingChange>>, ApiProblem> {
        let mut pending = self.changing.lock().await;
        if let Some(change) = &*pending
            && !change.is_in_force(&self.view.webhooks.borrow())
        {
            self.view.reload.notify_one();
            return Err(ApiProblem::waiting());
        }
        *pending = None;
        Ok(pending)
    }

    /// Waits until a webhook is in force as it is now, or gone. Returns `done`, or 202 if that
    /// takes long, as when another file of the folder is broken.
    async fn until_in_force(
        &self,
        pending: &mut Option<PendingChange>,
        done: StatusCode,
        name: &str,
        now: Option<&Webhook>,
    ) -> StatusCode {
        let mut webhooks = self.view.webhooks.clone();
        let change = pending.insert(PendingChange { name: name.to_owned(), now: now.cloned() });
        self.view.reload.notify_one();
        match timeout(IN_FORCE, webhooks.wait_for(|webhooks| change.is_in_force(webhooks))).await {
            Ok(Ok(_)) => done,
            Ok(Err(_)) | Err(_) => StatusCode::ACCEPTED,
        }
    }
}

/// A change that is in the files, and in force or soon to be.
pub(super) struct PendingChange {
    name: String,
    /// The webhook as it is after the change; `None` if it is removed.
    now: Option<Webhook>,
}

impl PendingChange {
    fn is_in_force(&self, webhooks: &[Arc<Webhook>]) -> bool {
        let found = webhooks.iter().find(|webhook| webhook.name == self.name);
        found.map(|webhook| &**webhook) == self.now.as_ref()
    }
}
