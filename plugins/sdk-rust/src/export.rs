//! What stands between a filter and the contract.

use std::marker::PhantomData;

use crate::{
    Event, Lifecycle, Result,
    bindings::{
        exports::trommel::filter::filter::{Guest, GuestSubscription},
        lifecycle::exports::trommel::filter::lifecycle,
        trommel::filter::types::{self, Emission, EventBatch, Interest, Outcome, Params},
    },
    columns::Columns,
    panics::log_panics,
};

/// Makes a component of a filter: `export!(Large)`. The hooks are those whose traits the type
/// implements. Behind its name stand:
///
/// - `api = "why"`, `state = "why"`: what it wishes for, with the reason that the user is shown;
/// - `lifecycle`: it has the hooks of [`Lifecycle`](crate::Lifecycle);
/// - `manifest = r#"{…}"#`, or `include_str!("…")`: a JSON object with what else the manifest may
///   say: `params`, `api`, `memory`, `metrics`, `output_schema`.
#[macro_export]
macro_rules! export {
    ($filter:ident $(, $name:ident $(= $value:expr)?)* $(,)?) => {
        const _: () = {
            #[allow(unused_imports, reason = "only those that the filter has no hook for")]
            use $crate::macros::absent::*;

            const MANIFEST: $crate::macros::Manifest = $crate::macros::Manifest {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                description: env!("CARGO_PKG_DESCRIPTION"),
                normalizes: Hook::<$filter>::NORMALIZES,
                matches: Hook::<$filter>::MATCHES,
                processes: Hook::<$filter>::PROCESSES,
                interval: Hook::<$filter>::INTERVAL,
                grants: $crate::__grants!([] $($name $(= $value)?,)*),
                more: $crate::__manifest!($($name $(= $value)?,)*),
            };
            const LENGTH: usize = $crate::macros::ManifestText::<0>::new(&MANIFEST).length;

            /// To be read without running anything.
            #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "trommel:manifest"))]
            #[allow(unsafe_code, reason = "it is the only thing in that section")]
            #[used]
            static TEXT: [u8; LENGTH] = $crate::macros::ManifestText::new(&MANIFEST).bytes;

            impl $crate::macros::Exported for $filter {
                fn manifest() -> &'static [u8] {
                    const { &$crate::macros::ManifestText::<LENGTH>::new(&MANIFEST).bytes }
                }

                fn create(key: &str, params: &$crate::Params) -> $crate::Result<Self> {
                    Hook::<$filter>::create(key, params)
                }

                fn normalize(key: &str, params: $crate::Params) -> $crate::Result<$crate::Params> {
                    Hook::<$filter>::normalize(key, params)
                }

                fn interest(&self) -> $crate::Interest {
                    $crate::Interest {
                        condition: Hook::<$filter>::condition(self),
                        match_reads: Hook::<$filter>::match_reads(self),
                        process_reads: Hook::<$filter>::process_reads(self),
                        sinks: Hook::<$filter>::sinks(self),
                    }
                }

                fn matches(&self, event: &$crate::Event<'_>) -> bool {
                    Hook::<$filter>::matches(self, event)
                }

                fn process(&self, event: &$crate::Event<'_>) -> $crate::Result<$crate::Outcome> {
                    Hook::<$filter>::process(self, event)
                }

                fn tick(&self, now: u64) -> $crate::Result<Vec<$crate::Emission>> {
                    Hook::<$filter>::tick(self, now)
                }
            }

            type Exported = $crate::macros::Border<$filter>;
            $crate::bindings::export_filter!(Exported with_types_in $crate::bindings);
            $($crate::__export_more!($name Exported);)*
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __grants {
    ([$($grant:expr,)*]) => { &[$($grant),*] };
    ([$($grant:expr,)*] api = $why:expr, $($rest:tt)*) => { $crate::__grants!([$($grant,)* ("api", $why),] $($rest)*) };
    ([$($grant:expr,)*] state = $why:expr, $($rest:tt)*) => { $crate::__grants!([$($grant,)* ("state", $why),] $($rest)*) };
    ([$($grant:expr,)*] manifest = $more:expr, $($rest:tt)*) => { $crate::__grants!([$($grant,)*] $($rest)*) };
    ([$($grant:expr,)*] lifecycle, $($rest:tt)*) => { $crate::__grants!([$($grant,)*] $($rest)*) };
    ([$($grant:expr,)*] $wish:ident, $($rest:tt)*) => {
        compile_error!(concat!("say why: `", stringify!($wish), " = \"looks customers up\"`"))
    };
    ([$($grant:expr,)*] $other:ident = $value:expr, $($rest:tt)*) => {
        compile_error!(concat!("`", stringify!($other), "` is none of `api`, `state`, `lifecycle` and `manifest`"))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __manifest {
    () => { "" };
    (manifest = $more:expr, $($rest:tt)*) => { $more };
    ($name:ident $(= $value:expr)?, $($rest:tt)*) => { $crate::__manifest!($($rest)*) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_more {
    (lifecycle $exported:ident) => {
        $crate::bindings::lifecycle::export_lifecycle!($exported with_types_in $crate::bindings::lifecycle);
    };
    ($name:ident $exported:ident) => {};
}

/// A filter with all hooks, those that it does not have filled in. Implemented by [`export!`].
pub trait Exported: Sized + 'static {
    fn manifest() -> &'static [u8];
    fn create(key: &str, params: &Params) -> Result<Self>;
    fn normalize(key: &str, params: Params) -> Result<Params>;
    fn interest(&self) -> Interest;
    fn matches(&self, event: &Event<'_>) -> bool;
    fn process(&self, event: &Event<'_>) -> Result<Outcome>;
    fn tick(&self, now: u64) -> Result<Vec<Emission>>;
}

/// A filter as the contract has it.
pub struct Border<F>(PhantomData<F>);

/// A route's filter, and the names of what its hooks are handed.
pub struct Route<F> {
    filter: F,
    interest: Interest,
}

impl<F: Exported> Guest for Border<F> {
    type Subscription = Route<F>;

    fn describe() -> String {
        String::from_utf8_lossy(F::manifest()).into_owned()
    }

    fn normalize_params(key: String, params: Params) -> Result<Params, types::Failure> {
        log_panics();
        Ok(F::normalize(&key, params)?)
    }
}

impl<F: Exported> GuestSubscription for Route<F> {
    fn new(key: String, params: Params) -> Result<Self, types::Failure> {
        log_panics();
        let filter = F::create(&key, &params)?;
        let interest = filter.interest();
        Ok(Self { filter, interest })
    }

    fn interest(&self) -> Interest {
        self.interest.clone()
    }

    fn matches(&self, event: types::Event) -> bool {
        self.filter.matches(&Event::new(&self.interest.match_reads, &event))
    }

    fn matches_batch(&self, EventBatch { arena, index }: EventBatch) -> Vec<u64> {
        let columns = Columns::new(&arena, &index);
        let mut answers = vec![0; columns.len().div_ceil(64)];
        for (event, row) in columns.rows().enumerate() {
            let wanted = self.filter.matches(&Event::of_batch(&self.interest.match_reads, row));
            answers[event / 64] |= u64::from(wanted) << (event % 64);
        }
        answers
    }

    fn process(&self, event: types::Event) -> Result<Outcome, types::Failure> {
        Ok(self.filter.process(&Event::new(&self.interest.process_reads, &event))?)
    }

    fn process_batch(&self, EventBatch { arena, index }: EventBatch) -> Vec<Result<Outcome, types::Failure>> {
        let process = |row| self.filter.process(&Event::of_batch(&self.interest.process_reads, row));
        Columns::new(&arena, &index).rows().map(|row| Ok(process(row)?)).collect()
    }

    fn tick(&self, now: u64) -> Result<Vec<Emission>, types::Failure> {
        Ok(self.filter.tick(now)?)
    }
}

impl<F: Exported + Lifecycle> lifecycle::Guest for Border<F> {
    fn pre_consume(key: String, params: Params) -> Result<Option<String>, types::Failure> {
        log_panics();
        Ok(F::create(&key, &params)?.pre_consume(&key)?)
    }

    fn cleanup(key: String, params: Params, token: String) -> Result<(), types::Failure> {
        log_panics();
        Ok(F::create(&key, &params)?.cleanup(&key, &token)?)
    }
}
