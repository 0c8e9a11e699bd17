//! Where the control socket of a router's folder is, and what lies beside it (L81, L82, L87).

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::{
        ffi::OsStringExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};
use sha2::{Digest as _, Sha256};

/// A link in the place of what is opened is an error.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// What a socket's address holds, with the zero at its end.
const MAX_ADDRESS: usize = 107;
/// Holds the path of the router's folder.
const ROUTER: &str = "router.path";
/// Of the folder's own name, so that people find it.
const MAX_NAME: usize = 40;

/// The state folder of one router's folder. Nothing is made before somebody needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The router's folder that this belongs to.
    pub router: PathBuf,
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("there is no place for the control socket: set `TROMMEL_STATE_DIR` or `HOME`")]
    NoHome,
    #[error("the control socket's path `{}` is longer than the {MAX_ADDRESS} bytes that a socket may have: set `TROMMEL_STATE_DIR` to a shorter one", .0.display())]
    TooLong(PathBuf),
    #[error("can't use the router's folder `{}`", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error("the state folder `{}` is not to be trusted: {}; remove it, or set `TROMMEL_STATE_DIR` to a folder of your own", .0.display(), .1)]
    NotOurs(PathBuf, &'static str),
}

impl Place {
    /// In `$TROMMEL_STATE_DIR`, else `$XDG_STATE_HOME/trommel`, else `~/.local/state/trommel`: a folder that is named after
    /// the router's folder and a digest of its whole path.
    ///
    /// # Errors
    /// When there is no such folder, it is somebody else's, or its path is too long for a socket.
    pub fn of(router: &Path) -> Result<Self, PlaceError> {
        let router = fs::canonicalize(router).map_err(|error| PlaceError::Folder(router.to_owned(), error))?;
        let place = Self { dir: state()?.join(name_of(&router)), router };
        if place.socket().as_os_str().len() > MAX_ADDRESS {
            return Err(PlaceError::TooLong(place.socket()));
        }
        place.check().map_err(|why| PlaceError::NotOurs(place.dir.clone(), why))?;
        Ok(place)
    }

    /// Whether the folder, if it is there, is one that we have made: in a folder that all may write to, others may have put
    /// theirs, or a link, in its place.
    fn check(&self) -> Result<(), &'static str> {
        match fs::symlink_metadata(&self.dir) {
            Ok(found) if !found.is_dir() => Err("it is a link or a file"),
            Ok(found) if found.uid() != geteuid().as_raw() => Err("it belongs to another user"),
            // What can't be looked at can't be made either, which then says why.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Every router's folder that this user has run a router from and that is still there, sorted.
    ///
    /// # Errors
    /// When the state folder can't be found or read.
    pub fn all() -> Result<Vec<Self>, PlaceError> {
        let state = state()?;
        let entries = match fs::read_dir(&state) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(PlaceError::Folder(state, error)),
        };
        let routers = entries.flatten().filter_map(|entry| fs::read(entry.path().join(ROUTER)).ok());
        let mut routers: Vec<_> = routers.map(|path| PathBuf::from(OsString::from_vec(path))).collect();
        routers.sort();
        Ok(routers.iter().filter_map(|router| Self::of(router).ok()).collect())
    }

    /// Writes down whose state this is, for [`Self::all`].
    ///
    /// # Errors
    /// When it can't be written.
    pub fn remember(&self) -> io::Result<()> {
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(NOFOLLOW);
        options.open(self.dir.join(ROUTER))?.write_all(self.router.as_os_str().as_encoded_bytes())
    }

    /// Makes the folder, which only the user may enter.
    ///
    /// # Errors
    /// When it can't be made, or belongs to somebody else.
    pub fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.check().map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
        // Of the folder that was looked at, whatever takes its place meanwhile.
        let dir = fs::File::options().read(true).custom_flags(NOFOLLOW).open(&self.dir)?;
        if dir.metadata()?.uid() != geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        dir.set_permissions(fs::Permissions::from_mode(0o700))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Process id and start time of the router that has the lock, on two lines.
    pub fn pid(&self) -> PathBuf {
        self.dir.join("router.pid")
    }

    /// Locked while a router runs: whether one does is told by this, not by a process id.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("router.lock")
    }

    /// Locked by whoever starts a router in the background, until it can be attached to.
    pub fn start_lock(&self) -> PathBuf {
        self.dir.join("start.lock")
    }

    /// What a router writes that was started in the background.
    pub fn log(&self) -> PathBuf {
        self.dir.join("router.log")
    }
}

fn state() -> Result<PathBuf, PlaceError> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = || folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    let state = folder("TROMMEL_STATE_DIR").or_else(|| user().map(|user| user.join("trommel")));
    state.ok_or(PlaceError::NoHome)
}

/// No path of ours holds anything else than letters, digits, `-`, `_` and `.` (L82).
fn name_of(router: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name = router.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().map(plain).take(MAX_NAME).collect();
    let digest = Sha256::digest(router.as_os_str().as_encoded_bytes());
    let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digest}", name.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L82
    #[test]
    fn a_name_is_fit_for_a_path() {
        for (router, start) in [
            ("/srv/orders", "orders-"),
            ("/srv/a b;c", "a_b_c-"),
            ("/srv/..hidden", "hidden-"),
            ("/srv/größe", "gr__e-"),
            ("/", "-"),
        ] {
            let name = name_of(Path::new(router));
            assert!(name.starts_with(start) && name.len() == start.len() + 8, "{router}: {name}");
        }
        assert_ne!(name_of(Path::new("/a/orders")), name_of(Path::new("/b/orders")));
    }

    #[test]
    fn a_folder_that_somebody_has_put_there_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place { router: "/srv/orders".into(), dir: folder.path().join("orders-1") };
        std::os::unix::fs::symlink(&victim, &place.dir).unwrap();
        assert_eq!(place.check(), Err("it is a link or a file"));
        assert_eq!(place.make().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o755);
        fs::remove_file(&place.dir).unwrap();
        place.make().unwrap();
        assert_eq!(place.check(), Ok(()));
        assert_eq!(fs::metadata(&place.dir).unwrap().permissions().mode() & 0o777, 0o700);

        // Nor is a link in the place of what is written there.
        std::os::unix::fs::symlink(victim.join("precious"), place.dir.join(ROUTER)).unwrap();
        assert!(place.remember().is_err());
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        fs::remove_file(place.dir.join(ROUTER)).unwrap();
        place.remember().unwrap();
        assert_eq!(fs::read_to_string(place.dir.join(ROUTER)).unwrap(), "/srv/orders");
    }
}
