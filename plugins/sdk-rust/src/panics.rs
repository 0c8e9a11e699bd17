//! Panics of a filter, said in the router's log.

/// Makes panics say their message and place in the log: a target without WASI has no other place for
/// it. Called when an instance is made.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| std::panic::set_hook(Box::new(|panicked| crate::log::error(panicked))));
    }
}
