//! Which of several routers owns which partition of a source. All of it is in one key-value bucket:
//! leases of the members, and the owner of each partition. There is no leader: every member
//! computes the same assignment, releases what is not its own, and claims what nothing owns.

use trommel_sync::{fence, poison};

mod assignment;
mod lease;
mod membership;
mod ownership;
mod record;
#[cfg(test)]
mod simulation;

pub use lease::Lease;
pub use membership::{BUCKET, FleetMembership, FleetTerms, PartitionOwnership};
pub use ownership::OwnershipChange;
