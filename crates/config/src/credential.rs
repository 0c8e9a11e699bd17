//! Credentials, such as a token, kept in the environment or in a file. A file is read again from
//! time to time, so that it can be renewed while the router runs.

use std::{
    mem,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use anyhow::Context;
use tokio::{task::spawn_blocking, time::Instant};

mod tenant_tokens;

pub use tenant_tokens::TenantTokens;

use crate::{config::KeptIn, poison::ignore_poison};

/// Converts the stored text to the value in use. Errors name what is wrong with it and never
/// contain any of it.
type SecretParser<T> = fn(&str) -> anyhow::Result<T>;

/// A value that is kept in the environment or in a file.
pub struct Credential<T> {
    /// Name in messages: `the token`.
    what: &'static str,
    parse: SecretParser<T>,
    kept: KeptValue<T>,
}

enum KeptValue<T> {
    Fixed(T),
    File { kept: KeptIn, path: PathBuf, max_age: Duration, last: Mutex<LastValue<T>> },
}

/// Time for which the last good value of an unusable file still admits clients. Long enough to
/// renew the file, short enough to revoke the value by emptying or deleting the file.
pub const GRACE: Duration = Duration::from_mins(5);

/// The last good value of a file.
struct LastValue<T> {
    value: T,
    /// Time of the last reading, successful or not: an unusable file is not read more often.
    read: Instant,
    /// Time since which the file has been unusable; set when that is logged.
    stale: Option<Instant>,
    /// True if the revocation of the value has been logged.
    is_revoked: bool,
}

impl<T: Clone> Credential<T> {
    /// Reads it for the first time. A file is read again once its last reading is older than
    /// `max_age`.
    ///
    /// # Errors
    /// Returns an error if it is missing or unusable. Errors name the location, never the value.
    pub fn read(what: &'static str, kept: &KeptIn, max_age: Duration, parse: SecretParser<T>) -> anyhow::Result<Self> {
        let at = || match kept {
            KeptIn::Env(variable) => format!("could not use {what} in the environment variable `{variable}`"),
            KeptIn::File(path) => format!("could not use {what} in `{}`", path.display()),
        };
        let value = kept.read().map_err(anyhow::Error::msg).and_then(|text| parse(&text)).with_context(at)?;
        let kept = match kept {
            KeptIn::Env(_) => KeptValue::Fixed(value),
            KeptIn::File(path) => {
                let last = Mutex::new(LastValue { value, read: Instant::now(), stale: None, is_revoked: false });
                KeptValue::File { kept: kept.clone(), path: path.clone(), max_age, last }
            }
        };
        Ok(Self { what, parse, kept })
    }

    /// The value that admits clients now: the last good one while the file is unusable, but only
    /// for [`GRACE`]. Emptying or deleting the file revokes it.
    pub async fn valid(&self) -> Option<T> {
        let value = self.current().await;
        let KeptValue::File { path, last, .. } = &self.kept else { return Some(value) };
        let mut last = lock(last);
        if last.stale.is_none_or(|since| since.elapsed() < GRACE) {
            return Some(value);
        }
        if !mem::replace(&mut last.is_revoked, true) {
            tracing::error!(
                path = %path.display(), after = ?GRACE,
                "{} does not count any more, as its file is of no use", self.what
            );
        }
        None
    }

    /// The value that authenticates this router now: the last good one while the file is unusable.
    pub async fn current(&self) -> T {
        let (kept, path, max_age, last) = match &self.kept {
            KeptValue::Fixed(value) => return value.clone(),
            KeptValue::File { kept, path, max_age, last } => (kept, path, *max_age, last),
        };
        {
            let mut last = lock(last);
            if last.read.elapsed() < max_age {
                return last.value.clone();
            }
            // Set before the read, so that concurrent callers do not read the file too.
            last.read = Instant::now();
        }
        let read = self.read_again(kept).await;
        let mut last = lock(last);
        match read {
            Ok(value) => {
                last.value = value;
                last.stale = None;
                last.is_revoked = false;
            }
            Err(error) if last.stale.is_none() => {
                last.stale = Some(Instant::now());
                let (path, error) = (path.display(), format!("{error:#}"));
                tracing::warn!(%path, error, "{} can't be read, the last good one stays in use", self.what);
            }
            Err(_) => {}
        }
        last.value.clone()
    }

    /// Reads the value again, on a blocking thread so that a slow file system does not hold up the
    /// runtime.
    async fn read_again(&self, kept: &KeptIn) -> anyhow::Result<T> {
        let kept = kept.clone();
        let text = spawn_blocking(move || kept.read()).await?.map_err(anyhow::Error::msg)?;
        (self.parse)(&text)
    }
}

fn lock<T>(last: &Mutex<LastValue<T>>) -> MutexGuard<'_, LastValue<T>> {
    ignore_poison(last.lock())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::ensure;

    use super::*;

    fn word(text: &str) -> anyhow::Result<String> {
        ensure!(text.split_whitespace().count() == 1, "it is one word");
        Ok(text.trim().to_owned())
    }

    fn read(kept: &KeptIn, max_age: Duration) -> anyhow::Result<Credential<String>> {
        Credential::read("the password", kept, max_age, word)
    }

    #[tokio::test]
    async fn the_last_good_value_stays_while_the_file_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("word");
        fs::write(&path, "first\n").unwrap();
        let value = read(&KeptIn::File(path.clone()), Duration::ZERO).unwrap();
        assert_eq!(value.current().await, "first");
        // A value of the same length, written within the same timestamp, is noticed too.
        fs::write(&path, "other\n").unwrap();
        assert_eq!(value.current().await, "other");
        for broken in [&b""[..], b"\n", b"two words", b"a\nb", b"\xff"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(value.current().await, "other", "{broken:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(value.current().await, "other");
        fs::write(&path, "third").unwrap();
        assert_eq!(value.current().await, "third");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_when_it_is_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("word");
        fs::write(&path, "old").unwrap();
        let value = read(&KeptIn::File(path.clone()), Duration::from_secs(1)).unwrap();
        fs::write(&path, "new").unwrap();
        assert_eq!(value.current().await, "old");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(value.current().await, "new");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_lets_nobody_in_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("word");
        fs::write(&path, "old").unwrap();
        let value = read(&KeptIn::File(path.clone()), Duration::ZERO).unwrap();
        for away in ["", "two words", "gone"] {
            match away {
                "gone" => fs::remove_file(&path).unwrap(),
                text => fs::write(&path, text).unwrap(),
            }
            assert_eq!(value.valid().await.as_deref(), Some("old"), "{away}");
            tokio::time::advance(GRACE - Duration::from_millis(1)).await;
            assert_eq!(value.valid().await.as_deref(), Some("old"), "{away}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(value.valid().await, None, "{away}");
            assert_eq!(value.current().await, "old", "it still proves who we are");
            fs::write(&path, "old").unwrap();
            assert_eq!(value.valid().await.as_deref(), Some("old"), "{away}");
        }
    }

    /// A pipe without a writer, an endless device, a file larger than a secret can be.
    #[tokio::test]
    async fn what_is_no_file_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        fs::File::create(at("sparse")).unwrap().set_len(3 << 30).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        fs::write(at("word"), "word").unwrap();
        let value = read(&KeptIn::File(at("word")), Duration::ZERO).unwrap();
        for name in ["pipe", "sparse", "device"] {
            assert!(read(&KeptIn::File(at(name)), Duration::ZERO).is_err(), "{name}");
            fs::rename(at(name), at("word")).unwrap();
            assert_eq!(value.current().await, "word", "{name}");
        }
    }

    #[test]
    fn a_value_that_is_of_no_use_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("word");
        fs::write(&path, "top secret").unwrap();
        let unset = KeptIn::Env("TROMMEL_NO_SUCH_VARIABLE".to_owned());
        for (kept, expected) in [
            (KeptIn::File(path), "it is one word"),
            (KeptIn::File(dir.path().join("none")), "No such file"),
            (unset, "could not use the password in the environment variable `TROMMEL_NO_SUCH_VARIABLE`: it is not set"),
        ] {
            let Err(error) = read(&kept, Duration::ZERO) else { panic!("{kept:?} is of no use") };
            let error = format!("{error:#}");
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        let fixed = read(&KeptIn::Env("CARGO_PKG_NAME".to_owned()), Duration::ZERO).unwrap();
        assert!(matches!(fixed.kept, KeptValue::Fixed(value) if value == "trommel-config"));
    }
}
