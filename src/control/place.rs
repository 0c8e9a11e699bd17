//! Location of a router's control socket and of the files beside it (L81, L82, L87).

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

/// Refuses to open a link.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Longest path of a socket's address, without the zero at its end.
const MAX_ADDRESS: usize = 107;
/// File that holds the path of the router's folder.
const ROUTER: &str = "router.path";
/// Characters kept of the folder's own name, by which it can be recognised.
const MAX_NAME: usize = 40;

/// The state folder of one router's folder. It is created only when needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPlace {
    /// The router's folder that this belongs to.
    pub router: PathBuf,
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("there is no place for the control socket: set `TROMMEL_STATE_DIR` or `HOME`")]
    NoHome,
    #[error("the control socket's path `{}` is longer than the {MAX_ADDRESS} bytes that a socket may have: set \
        `TROMMEL_STATE_DIR` to a shorter one", .0.display())]
    TooLong(PathBuf),
    #[error("can't use the router's folder `{}`", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error("the state folder `{}` is not to be trusted: {}; remove it, or set `TROMMEL_STATE_DIR` to a folder of \
        your own", .0.display(), .1)]
    NotOurs(PathBuf, &'static str),
}

impl SocketPlace {
    /// The state folder of `router`: in `$TROMMEL_STATE_DIR`, else `$XDG_STATE_HOME/trommel`, else
    /// `~/.local/state/trommel`, a folder named after the router's folder and a digest of its whole
    /// path.
    ///
    /// # Errors
    /// Returns an error if there is no such folder, it belongs to another user, or its path is too
    /// long for a socket.
    pub fn of(router: &Path) -> Result<Self, PlaceError> {
        let router = fs::canonicalize(router).map_err(|error| PlaceError::Folder(router.to_owned(), error))?;
        let place = Self { dir: state()?.join(name_of(&router)), router };
        if place.socket().as_os_str().len() > MAX_ADDRESS {
            return Err(PlaceError::TooLong(place.socket()));
        }
        place.check().map_err(|why| PlaceError::NotOurs(place.dir.clone(), why))?;
        Ok(place)
    }

    /// Checks that the folder, if it exists, is our own: in a folder that all may write to, another
    /// user may have put a folder or a link in its place.
    fn check(&self) -> Result<(), &'static str> {
        match fs::symlink_metadata(&self.dir) {
            Ok(found) if !found.is_dir() => Err("it is a link or a file"),
            Ok(found) if found.uid() != geteuid().as_raw() => Err("it belongs to another user"),
            // A folder that can't be inspected can't be made either: that error has the reason.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Every router's folder that this user has run a router from and that is still there, sorted.
    ///
    /// # Errors
    /// Returns an error if the state folder can't be found or read.
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

    /// Writes down the path of the router's folder, for [`Self::all`].
    ///
    /// # Errors
    /// Returns an error if it can't be written.
    pub fn remember(&self) -> io::Result<()> {
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(NOFOLLOW);
        options.open(self.dir.join(ROUTER))?.write_all(self.router.as_os_str().as_encoded_bytes())
    }

    /// Makes the folder, which only the user may enter.
    ///
    /// # Errors
    /// Returns an error if it can't be made, or belongs to another user.
    pub fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.check().map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
        // Through an open handle, so that checks and permissions apply to the same folder even if
        // it is replaced meanwhile.
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

    /// Path of the file that is locked while a router runs. The lock, not a process id, tells
    /// whether one runs.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("router.lock")
    }

    /// Path of the file that is locked while a router is started in the background, until consumers
    /// can attach to it.
    pub fn start_lock(&self) -> PathBuf {
        self.dir.join("start.lock")
    }

    /// Path of the log of a router that was started in the background.
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

/// Name of the state folder: holds only letters, digits, `-`, `_` and `.` (L82).
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
        let place = SocketPlace { router: "/srv/orders".into(), dir: folder.path().join("orders-1") };
        std::os::unix::fs::symlink(&victim, &place.dir).unwrap();
        assert_eq!(place.check(), Err("it is a link or a file"));
        assert_eq!(place.make().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o755);
        fs::remove_file(&place.dir).unwrap();
        place.make().unwrap();
        assert_eq!(place.check(), Ok(()));
        assert_eq!(fs::metadata(&place.dir).unwrap().permissions().mode() & 0o777, 0o700);

        // Links in the place of files are refused, too.
        std::os::unix::fs::symlink(victim.join("precious"), place.dir.join(ROUTER)).unwrap();
        assert!(place.remember().is_err());
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        fs::remove_file(place.dir.join(ROUTER)).unwrap();
        place.remember().unwrap();
        assert_eq!(fs::read_to_string(place.dir.join(ROUTER)).unwrap(), "/srv/orders");
    }
}
