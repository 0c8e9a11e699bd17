//! Filters for trommel in Rust: a type that is a route's params, the hooks that it has, and
//! [`export!`].
//!
//! ```
//! use serde::Deserialize;
//! use trommel_filter::{Edits, Fields, Matches, Outcome, Process, Result, export};
//!
//! /// The params, as the key declares them.
//! #[derive(Deserialize)]
//! struct Large {
//!     min_amount: f64,
//! }
//!
//! /// What is read of an event. Nothing else is handed over, and nothing else is parsed.
//! #[derive(Fields)]
//! struct Order<'a> {
//!     #[field("/amount")]
//!     amount: f64,
//!     #[field("/customer/tier")]
//!     tier: Option<String>,
//!     subject: &'a str,
//! }
//!
//! impl Matches for Large {
//!     type Reads<'a> = Order<'a>;
//!
//!     fn matches(&self, order: Order) -> bool {
//!         order.amount >= self.min_amount && order.subject.starts_with("orders.")
//!     }
//! }
//!
//! impl Process for Large {
//!     type Reads<'a> = Order<'a>;
//!
//!     fn process(&self, order: Order) -> Result<Outcome> {
//!         Edits::new().set("/large", true).header("tier", order.tier.unwrap_or_default()).into()
//!     }
//! }
//!
//! export!(Large);
//!
//! use trommel_filter::testing::{TestEvent, TestRoute};
//! let route = TestRoute::<Large>::new(&[("min_amount", "500")]).unwrap();
//! let event = TestEvent::new(r#"{"amount":700,"customer":{"tier":"gold"}}"#).with("subject", "orders.eu");
//! assert!(route.matches(&event));
//! assert_eq!(route.process(&event), Edits::new().set("/large", true).header("tier", "gold").into());
//! ```
//!
//! Params are read by serde: a field is a param, its type says what may be given. What a filter
//! makes of its params once, a compiled expression or the like, is [`FromParams`].

#[cfg(test)]
extern crate self as trommel_filter;

pub mod api;
mod columns;
mod condition;
mod duration;
mod event;
mod export;
mod failure;
mod hooks;
pub mod log;
mod manifest;
mod outcome;
mod panics;
mod params;
mod probe;
mod reading;
pub mod state;
pub mod telemetry;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod text;

pub use bindings::trommel::filter::types::{Interest, Params};
pub use condition::{FieldTest, field};
pub use duration::duration;
pub use event::Event;
pub use failure::{Failure, FailureKind, Result};
pub use hooks::{Conditions, FromParams, Lifecycle, Matches, Normalize, Process, Tick};
pub use outcome::{Cause, Change, Edit, Edits, Emission, Fate, Outcome};
pub use reading::Fields;
pub use trommel_filter_derive::Fields;

/// What [`export!`] and `#[derive(Fields)]` need of this crate.
#[doc(hidden)]
pub mod macros {
    pub use crate::{
        export::{Border, Exported},
        manifest::{Manifest, ManifestText},
        probe::absent,
        reading::{SharedText, derived_optional as optional, derived_required as required},
    };
}

/// The contract as `wit-bindgen` puts it.
#[doc(hidden)]
#[allow(missing_docs, clippy::missing_safety_doc, reason = "made by a macro")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "filter-component",
        additional_derives: [PartialEq],
        default_bindings_module: "trommel_filter::bindings",
        export_macro_name: "export_filter",
        pub_export_macro: true,
    });

    /// The export that not every filter has.
    pub mod lifecycle {
        wit_bindgen::generate!({
            inline: "package trommel:sdk; world lifecycle { export trommel:filter/lifecycle@0.2.0; }",
            path: "wit",
            with: { "trommel:filter/types@0.2.0": super::trommel::filter::types },
            default_bindings_module: "trommel_filter::bindings::lifecycle",
            export_macro_name: "export_lifecycle",
            pub_export_macro: true,
        });
    }
}
