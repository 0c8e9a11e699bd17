//! Filters for trommel in Rust: a type that is a route's params, the hooks that it has, and [`export!`].
//!
//! ```
//! use serde::Deserialize;
//! use trommel_filter::{Event, Fields, Matches, Outcome, Process, Result, export};
//!
//! /// The params, as the key declares them.
//! #[derive(Deserialize)]
//! struct Large {
//!     min_amount: u64,
//! }
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     amount: u64,
//! }
//!
//! impl Matches for Large {
//!     const READS: Fields = Fields::SUBJECT;
//!
//!     fn matches(&self, event: &Event) -> bool {
//!         event.subject().is_some_and(|subject| subject.starts_with("orders."))
//!     }
//! }
//!
//! impl Process for Large {
//!     const READS: Fields = Fields::PAYLOAD;
//!
//!     fn process(&self, event: &Event) -> Result<Outcome> {
//!         let order: Order = event.json()?;
//!         Ok(if order.amount >= self.min_amount { Outcome::Keep } else { Outcome::Drop })
//!     }
//! }
//!
//! export!(Large);
//!
//! let filter: Large = trommel_filter::testing::filter(&[("min_amount", "500")]).unwrap();
//! let event = Event::new("order.created").with_subject("orders.eu").with_payload(r#"{"amount":700}"#);
//! assert!(filter.matches(&event));
//! assert_eq!(filter.process(&event), Ok(Outcome::Keep));
//! ```
//!
//! Params are read by serde: a field is a param, its type says what may be given. What a filter makes of its params once
//! and for all, a compiled expression or the like, is serde's `#[serde(try_from = "Written")]`, where `Written` has the params
//! as they are given.

pub mod api;
mod columns;
mod condition;
mod event;
mod export;
pub mod log;
mod outcome;
mod panics;
mod params;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::trommel::filter::types::{Comparison, Condition, Fields, Params};
pub use condition::{Part, field};
pub use event::Event;
pub use export::{Conditions, Lifecycle, Matches, Normalize, Process};
pub use outcome::{Emission, Failure, Outcome, Result};

/// What [`export!`] needs of this crate.
#[doc(hidden)]
pub mod macros {
    pub use crate::export::{Border, Exported, Hook, Manifest, probe};
}

/// The contract as `wit-bindgen` puts it.
#[doc(hidden)]
#[allow(missing_docs, clippy::missing_safety_doc, reason = "made by a macro")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "filter-batched",
        additional_derives: [PartialEq],
        default_bindings_module: "trommel_filter::bindings",
        export_macro_name: "export_filter",
        pub_export_macro: true,
    });

    /// The export that not every filter has.
    pub mod lifecycle {
        wit_bindgen::generate!({
            inline: "package trommel:sdk; world lifecycle { export trommel:filter/lifecycle@0.1.1; }",
            path: "wit",
            with: { "trommel:filter/types@0.1.1": super::trommel::filter::types },
            default_bindings_module: "trommel_filter::bindings::lifecycle",
            export_macro_name: "export_lifecycle",
            pub_export_macro: true,
        });
    }
}
