//! Resolver of host names. Names are resolved here and nowhere else: the address that was checked
//! is the one that is connected to.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::address::{PrivateAddress, is_public};

/// Resolves names to their public addresses.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in by the caller.
            let found = lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(PrivateAddress.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_lead_inside_are_not_resolved() {
        let Err(error) = PublicOnly.resolve("localhost".parse().unwrap()).await else { panic!("it is private") };
        assert!(error.is::<PrivateAddress>(), "{error}");
    }
}
