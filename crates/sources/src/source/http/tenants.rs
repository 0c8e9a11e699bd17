//! Tenants that a client may send events for.

use axum::http::HeaderMap;

use super::{headers::with, refusal::RequestRefusal};
use crate::event::{Event, identity::TENANT};

/// The tenants that a request's events may belong to.
#[derive(Clone, Copy, Debug)]
pub(super) enum AllowedTenants<'a> {
    /// The client names the tenant and is trusted.
    Any,
    /// The source sets the tenant, whatever the client states.
    Always(&'a str),
    /// The client may send for these alone.
    OneOf(&'a [String]),
}

impl<'a> AllowedTenants<'a> {
    /// Value of the header `tenant` where the client's does not count, or is not there.
    ///
    /// # Errors
    /// Returns an error if the client names a tenant that it may not send for.
    pub(super) fn of_request(self, headers: &HeaderMap) -> Result<Option<&'a str>, RequestRefusal> {
        match self {
            Self::Any => Ok(None),
            Self::Always(tenant) => Ok(Some(tenant)),
            Self::OneOf(tenants) => {
                let mut named = headers.get_all(TENANT).iter().peekable();
                let is_silent = named.peek().is_none();
                if !named.all(|name| tenants.iter().any(|tenant| tenant.as_bytes() == name.as_bytes())) {
                    return Err(RequestRefusal::foreign_tenant());
                }
                Ok(self.only().filter(|_| is_silent))
            }
        }
    }

    /// Checks the tenant that the envelope has found. If the message itself is `kept`, it can't be
    /// replaced.
    ///
    /// # Errors
    /// Returns an error if the event belongs to another tenant, or its tenant is not stated.
    pub(super) fn hold(self, mut event: Event, kept: bool) -> Result<Event, RequestRefusal> {
        let tenants = || event.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(TENANT));
        match self {
            Self::Any => {}
            Self::Always(tenant) if tenants().any(|(_, value)| value != tenant) => {
                if kept {
                    return Err(RequestRefusal::other_tenant());
                }
                event.headers = with(event.headers, TENANT, Some(tenant.into()));
            }
            Self::Always(_) => {}
            Self::OneOf(allowed) => {
                if tenants().any(|(_, value)| !allowed.iter().any(|tenant| *value == tenant.as_str())) {
                    return Err(RequestRefusal::foreign_tenant());
                }
                if tenants().next().is_none() {
                    return Err(RequestRefusal::no_tenant());
                }
            }
        }
        Ok(event)
    }

    fn only(self) -> Option<&'a str> {
        match self {
            Self::OneOf([tenant]) => Some(tenant),
            _ => None,
        }
    }
}
