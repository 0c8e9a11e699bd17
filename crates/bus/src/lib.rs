//! An in-process bus: each holder of a [`Bus`] publishes [`Envelope`]s to all subscriptions whose
//! pattern fits the subject. It needs no broker, and buffers in
//! memory only.
//!
//! ```
//! # use trommel_bus::{Bus, Envelope, OverflowPolicy};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Bus::default();
//! let mut orders =
//!     bus.subscribe("orders.>".parse()?).buffer(1000).policy(OverflowPolicy::Block).open()?;
//! bus.publish(Envelope::new("orders.eu.created")?.with_payload(&42)?).await?;
//! let order = orders.recv().await.expect("the bus is open");
//! assert_eq!(order.decode::<u32>()?, Some(42));
//! bus.close().await;
//! assert!(orders.recv().await.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! When a publish returns, the envelope is in the buffer of every subscription that it fits, or
//! dropped there for a [`DropReason`] that observers hear and [`BusStats`] count. The
//! subscription's [`OverflowPolicy`] decides what happens when a buffer is full.

#![warn(missing_docs)]

use trommel_event::event;

mod envelope;
mod gate;
mod hub;
mod observe;
mod policy;
mod publish;
mod queue;
mod routes;
mod subscriber;
mod subscription;

/// Synchronisation primitives of the bus. Its tests replace them with those of a model checker.
mod sync {
    pub(super) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    };
}

pub use envelope::Envelope;
pub use hub::{Bus, BusBuilder, BusClosed};
pub use observe::{BusStats, Observation};
pub use policy::{DropReason, OverflowPolicy};
pub use publish::PublishReport;
pub use subscription::{BusSubscription, BusSubscriptionId, DEFAULT_BUFFER, MAX_BUFFER, SubscriptionBuilder};

#[cfg(test)]
mod tests {
    use super::Bus;

    /// F32
    #[test]
    fn subjects_are_remembered_up_to_a_bound() {
        let bus = Bus::default();
        let remembered = (0..3000).map(|number| {
            bus.hub.routes.of(&format!("subjects.{number}"));
            bus.hub.routes.cached()
        });
        assert_eq!(remembered.max(), Some(1024));
    }
}
