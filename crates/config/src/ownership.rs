//! Checks of other users' write access to a file or folder, by the rules that ssh applies to keys.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

use rustix::process::geteuid;

const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const READABLE_BY_OTHERS: u32 = 0o004;

/// Reason why a file or folder is not exclusively ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignAccess {
    #[error("it belongs to another user, whose id is {0}")]
    Owner(u32),
    #[error("others may write to it (mode {:03o}): `chmod go-w` mends that", .0 & 0o777)]
    Writable(u32),
}

/// Checks that a file or folder belongs to us or to root, and that no other user may write to it.
///
/// # Errors
/// Returns which other user or users may.
pub fn check(found: &Metadata) -> Result<(), ForeignAccess> {
    judge(found.uid(), found.gid(), found.mode(), geteuid().as_raw())
}

/// Returns whether every user of this machine may read it.
pub fn is_readable_by_others(found: &Metadata) -> bool {
    found.mode() & READABLE_BY_OTHERS != 0
}

fn judge(owner: u32, group: u32, mode: u32, ours: u32) -> Result<(), ForeignAccess> {
    if owner != ours && owner != 0 {
        return Err(ForeignAccess::Owner(owner));
    }
    // A group with its owner's number is by convention that user's alone: some systems make files
    // writable for it.
    let by_group = mode & WRITABLE_BY_GROUP != 0 && group != owner;
    if by_group || mode & WRITABLE_BY_OTHERS != 0 { Err(ForeignAccess::Writable(mode)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_roots_are_trusted_while_nobody_else_may_write() {
        for (owner, group, mode, expected) in [
            (1000, 1000, 0o100_644, Ok(())),
            (1000, 1000, 0o100_775, Ok(())),
            (0, 0, 0o100_755, Ok(())),
            (1001, 1000, 0o100_600, Err(ForeignAccess::Owner(1001))),
            (65534, 65534, 0o100_777, Err(ForeignAccess::Owner(65534))),
            (1000, 100, 0o100_664, Err(ForeignAccess::Writable(0o100_664))),
            (1000, 1000, 0o100_646, Err(ForeignAccess::Writable(0o100_646))),
            (0, 1000, 0o100_664, Err(ForeignAccess::Writable(0o100_664))),
        ] {
            assert_eq!(judge(owner, group, mode, 1000), expected, "{owner} {group} {mode:o}");
        }
        assert_eq!(
            ForeignAccess::Writable(0o100_666).to_string(),
            "others may write to it (mode 666): `chmod go-w` mends that"
        );
    }
}
