//! Permissions of the router's user, against all that the router publishes and subscribes to.

use super::{
    finding::Finding,
    needs::{INBOX, NeedWeight, NeededSubject, RouterNeeds},
    server::ServerView,
};
use crate::{
    app,
    config::quoted,
    nats::{ApiError, SubjectAccess, USER_INFO, UserInfo, UserPermissions},
    source::jetstream::{ConsumerPlan, plan_consumer},
};

const HINT: &str = "allow it: `trommel doctor DIR --permissions` prints the block for the server";

/// A need that is not met, or only in part.
struct UnmetPermission<'a> {
    need: &'a NeededSubject,
    access: SubjectAccess,
}

pub(super) async fn examine(view: &ServerView<'_>, needs: &RouterNeeds) -> Vec<Finding> {
    match &view.user {
        Ok(UserInfo { user, account, permissions, .. }) => {
            // A client without credentials has no name.
            let name = if user.is_empty() { "the router".to_owned() } else { format!("user `{user}`") };
            let Some(permissions) = permissions else {
                return vec![Finding::ok(format!("{name} may use all subjects of account `{account}`"))];
            };
            let unmet: Vec<_> = needs.iter().filter_map(|need| unmet(need, permissions)).collect();
            let met = needs.iter().count() - unmet.len();
            let fine = Finding::ok(format!("{name} may use {met} of the subjects that the folder needs"));
            [fine].into_iter().chain(findings(view, &unmet).await).collect()
        }
        Err(ApiError::NoPermission(denial)) if !denial.publish => {
            let message = format!("no permission to subscribe to `{INBOX}`: no answer of the server can arrive");
            vec![Finding::error("no_permission", message).hint(HINT)]
        }
        Err(error) => probed(view, needs, error).await,
    }
}

/// Asks for each request by itself, as the server does not tell the permissions.
async fn probed(view: &ServerView<'_>, needs: &RouterNeeds, error: &ApiError) -> Vec<Finding> {
    let requests: Vec<_> = needs.iter().filter(|need| need.is_request()).collect();
    let subjects: Vec<_> = requests.iter().map(|need| need.subject.clone()).collect();
    let unknown = needs.iter().filter(|need| !need.is_request() && need.subject != USER_INFO && need.subject != INBOX);
    let unknown = quoted(unknown.map(|need| need.subject.as_str()), "and");
    let more = if unknown.is_empty() { String::new() } else { format!("; not tried, as it could be heard: {unknown}") };
    let message =
        format!("the server does not tell the permissions ({error}), so requests were tried one by one{more}");
    let told = Finding::warning("no_permission", message).hint(format!("allow to publish to `{USER_INFO}`"));
    match view.connection.probe_requests(&subjects).await {
        Ok(denied) => {
            let is_denied = |need: &&NeededSubject| denied.contains(&need.subject);
            let unmet: Vec<_> = requests.into_iter().filter(is_denied).map(UnmetPermission::all).collect();
            [told].into_iter().chain(findings(view, &unmet).await).collect()
        }
        Err(error) => vec![told, Finding::error("no_answer", format!("permissions can't be tried: {error}"))],
    }
}

impl<'a> UnmetPermission<'a> {
    fn all(need: &'a NeededSubject) -> Self {
        Self { need, access: SubjectAccess::None }
    }
}

fn unmet<'a>(need: &'a NeededSubject, permissions: &UserPermissions) -> Option<UnmetPermission<'a>> {
    let subjects = if need.publish { &permissions.publish } else { &permissions.subscribe };
    let access = need.patterns().map(|pattern| subjects.access(&pattern));
    let best = access.fold(SubjectAccess::None, |best, access| match (best, access) {
        (SubjectAccess::All, _) | (_, SubjectAccess::All) => SubjectAccess::All,
        (SubjectAccess::Part, _) | (_, SubjectAccess::Part) => SubjectAccess::Part,
        _ => SubjectAccess::None,
    });
    (best != SubjectAccess::All).then_some(UnmetPermission { need, access: best })
}

async fn findings(view: &ServerView<'_>, unmet: &[UnmetPermission<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for UnmetPermission { need, access } in unmet {
        let NeededSubject { publish, subject, purpose, .. } = need;
        let action = if *publish { "publish to" } else { "subscribe to" };
        let finding = match access {
            SubjectAccess::Part => {
                let message =
                    format!("permission to {action} only a part of `{subject}`, all of which is needed {purpose}");
                Finding::warning("no_permission", message)
            }
            _ => {
                let message = format!("no permission to {action} `{subject}`, which is needed {purpose}");
                let is_vital = is_vital(view, &need.weight).await;
                if is_vital {
                    Finding::error("no_permission", message)
                } else {
                    Finding::warning("no_permission", message)
                }
            }
        };
        findings.push(finding);
    }
    // Once is enough: the way out is the same.
    if let Some(last) = findings.pop() {
        findings.push(last.hint(HINT));
    }
    findings
}

/// Returns whether the router can't do its work without it, as things are at the server.
async fn is_vital(view: &ServerView<'_>, weight: &NeedWeight) -> bool {
    match weight {
        NeedWeight::Vital => true,
        NeedWeight::Helpful => false,
        NeedWeight::Makes(stream) => !matches!(view.connection.stream_info(stream).await, Ok(Some(_))),
        NeedWeight::MakesConsumer(settings) => {
            let plan = plan_consumer(view.connection.clone(), settings, app::outstanding(view.config)).await;
            !matches!(plan, Ok(ConsumerPlan::AsWanted))
        }
    }
}
