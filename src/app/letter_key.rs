//! Keys that prove that this router wrote a dead letter: the secrets of `[dead_letter]`, else a key
//! that a router makes once for its folder.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use crate::{
    config::{self, Config},
    control::SocketPlace,
    ownership,
    signature::{LetterSigner, Secret, make_secret_file},
};

const NAME: &str = "dead-letters.key";
const LARGEST: u64 = 4096;
/// State folder of a router that has none elsewhere.
const OWN: &str = ".trommel";

/// Signer that recognises letters written by routers of this folder, on this machine and as this
/// user.
///
/// # Errors
/// Returns an error if a key exists but can't be used.
pub fn letter_signer(config: &Config) -> anyhow::Result<LetterSigner> {
    if !config.letter_secrets.is_empty() {
        return Ok(LetterSigner::new(config.letter_secrets.clone()));
    }
    let state = SocketPlace::of(&config.dir).ok().map(|place| place.dir().to_owned());
    let folders = state.into_iter().chain([config.dir.join(OWN)]);
    let keys = folders.map(|folder| read(&folder.join(NAME))).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(LetterSigner::new(keys.into_iter().flatten().collect()))
}

/// Signer for this router's own letters. Makes a key if there is none yet.
///
/// # Errors
/// Returns an error if no key can be read or made.
pub(super) fn own_letter_signer(config: &Config, place: Option<&Path>) -> anyhow::Result<LetterSigner> {
    if !config.letter_secrets.is_empty() {
        return Ok(LetterSigner::new(config.letter_secrets.clone()));
    }
    let path = state_folder(config, place).join(NAME);
    let key = match read(&path)? {
        Some(key) => key,
        None => made(&path)?,
    };
    Ok(LetterSigner::new(vec![key]))
}

/// The folder for state that outlives the router.
pub(super) fn state_folder(config: &Config, place: Option<&Path>) -> PathBuf {
    let place = place.and_then(|dir| SocketPlace::of(dir).ok());
    place.map_or_else(|| config.dir.join(OWN), |place| place.dir().to_owned())
}

/// Makes a new key, or returns the one that another router has made meanwhile: a key appears in its
/// place as a whole.
fn made(path: &Path) -> anyhow::Result<Secret> {
    let draft = path.with_extension(format!("{:016x}", fastrand::u64(..)));
    make_secret_file(&draft).with_context(|| format!("could not make `{}`", draft.display()))?;
    let linked = fs::hard_link(&draft, path);
    // A draft left behind is harmless: only the link counts.
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("could not make `{}`", path.display()));
        }
        _ => {}
    }
    match read(path)? {
        Some(key) => Ok(key),
        None => bail!("`{}` was taken away while it was made", path.display()),
    }
}

/// Reads a key; `None` if there is none.
fn read(path: &Path) -> anyhow::Result<Option<Secret>> {
    let at = || format!("could not use the key of the dead letters in `{}`", path.display());
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).with_context(at),
    };
    ownership::check(&found).with_context(at)?;
    ensure!(
        !ownership::is_readable_by_others(&found),
        "all users of this machine can read `{path}`, and so write dead letters that `trommel dlq retry` believes: \
         remove it, the router makes another",
        path = path.display()
    );
    let bytes = config::read(path, LARGEST).with_context(at)?;
    let text = String::from_utf8(bytes).with_context(at)?;
    text.parse().map(Some).with_context(at)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::signature::LetterProof;

    fn config(folder: &Path) -> Config {
        let settings = "[[source]]\nname = \"in\"\ntype = \"lines\"\n";
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("trommel.toml"), settings).unwrap();
        crate::folder::load(folder).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let record = b"{\"reason\":\"trap\"}".to_vec();
        let first = own_letter_signer(&config, None).unwrap();
        let signed = first.sign(record.clone());
        assert_eq!(own_letter_signer(&config, None).unwrap(), first);
        assert_eq!(letter_signer(&config).unwrap().verify(&signed), LetterProof::Proven, "commands have it, too");
        let path = folder.path().join(OWN).join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join(OWN)).unwrap().count(), 1, "nothing is left behind");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = format!("{:#}", letter_signer(&config).unwrap_err());
        assert!(error.starts_with("all users of this machine can read"), "{error}");
        fs::remove_file(&path).unwrap();
        assert_eq!(letter_signer(&config).unwrap().verify(&signed), LetterProof::Wrong);
        let other = own_letter_signer(&config, None).unwrap();
        assert_eq!(other.verify(&signed), LetterProof::Wrong);
    }

    /// Routers that start at the same time share one key.
    #[test]
    fn a_key_that_several_make_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let made = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| own_letter_signer(&config, None).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(made.iter().all(|signer| *signer == made[0]), "one key");
    }
}
