//! A client of event families over NATS: typed publishers and subscribers, history and streams,
//! without a router.
//!
//! ```no_run
//! use trommel_client::{EventClient, EventFilter, MeshEvent, NodeEvent, SessionEvent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = EventClient::connect("nats://127.0.0.1:4222").await?;
//!
//! // Stored: this returns once a stream has the event.
//! client.publish(&NodeEvent::new("n1", "heartbeat")).await?;
//! client.publish(&MeshEvent::tool_crashed("n1", "search", "exit status 137", 3)).await?;
//!
//! // From a stream, each event until it is acknowledged.
//! let mut sessions =
//!     client.consume::<SessionEvent>(EventFilter::of("*", "attach")).durable("greeter").open().await?;
//! let delivery = sessions.next().await?;
//! match &delivery.event {
//!     Ok(session) => println!("{} attached", session.session_id),
//!     Err(malformed) => eprintln!("{}: {malformed}", delivery.subject),
//! }
//! delivery.ack().await?;
//!
//! // Live, without a stream: what is not taken in time is dropped and counted.
//! let mut crashes = client.subscribe::<MeshEvent>(EventFilter::pattern("tool.crashed")?).await?;
//! while let Some(message) = crashes.next().await {
//!     println!("{:?}", message.event?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A type of event of your own becomes part of this by implementing [`EventFamily`].

mod client;
mod consume;
mod family;
mod history;
mod live;

pub use client::{ClientError, EventClient};
pub use consume::{ConsumerBuilder, EventConsumer, EventDelivery};
pub use family::{
    EventFamily, EventFilter, MalformedEvent, UnencodableEvent, WireFormat,
    ctrlplane::{self, CtrlplaneEvent, NoTypeId, TypeId},
    helix::{
        self, AlertEvent, AuditEvent, HealthEvent, HelixEnvelope, HelixEvent, NodeEvent, SchedulerEvent, SessionEvent,
    },
    mesh::MeshEvent,
};
pub use history::{EventHistory, HistoryRange, StoredEvent};
pub use live::{LiveEvent, LiveEvents};
pub use trommel_bus::Envelope;
pub use trommel_config::config::{NatsAuth, NatsConfig, StreamConfig, StreamLimit};
pub use trommel_nats::{Connection, PublishPosition};
