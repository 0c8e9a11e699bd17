//! The level of the logs, which an operator may change for a while.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

/// Setter of the level: `None` is the one of the start.
type LevelSetter = dyn Fn(Option<&str>) -> Result<(), String> + Send + Sync;

/// Switch for the level of the logs.
pub struct LogSwitch {
    set: Box<LevelSetter>,
    /// Number of changes so far: only the last one is taken back.
    changes: AtomicU64,
}

impl fmt::Debug for LogSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSwitch").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl LogSwitch {
    /// Creates a switch. `set` is given a level or directives, or `None` for those of the start,
    /// and returns what is wrong with them.
    pub fn new(set: impl Fn(Option<&str>) -> Result<(), String> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { set: Box::new(set), changes: AtomicU64::new(0) })
    }

    /// Sets the level, and back to that of the start after a while, unless it was changed again.
    pub(super) fn change(self: &Arc<Self>, level: Option<&str>, lasts: Option<Duration>) -> Result<(), String> {
        (self.set)(level)?;
        let number = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(lasts) = lasts {
            let switch = Arc::clone(self);
            tokio::spawn(async move {
                sleep(lasts).await;
                if switch.changes.load(Ordering::Relaxed) == number {
                    // What it was started with was good at the start.
                    let _ = (switch.set)(None);
                    tracing::info!("logging at the level of the start again");
                }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_level_is_taken_back_unless_it_was_changed_again() {
        let levels = Arc::<Mutex<Vec<Option<String>>>>::default();
        let seen = Arc::clone(&levels);
        let switch = LogSwitch::new(move |level| {
            seen.lock().unwrap().push(level.map(str::to_owned));
            Ok(())
        });
        let taken = || std::mem::take(&mut *levels.lock().unwrap());
        switch.change(Some("debug"), Some(Duration::from_secs(60))).unwrap();
        advance(Duration::from_secs(30)).await;
        switch.change(Some("trace"), Some(Duration::from_secs(60))).unwrap();
        sleep(Duration::from_secs(59)).await;
        assert_eq!(taken(), [Some("debug".to_owned()), Some("trace".to_owned())]);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(taken(), [None]);
    }
}
