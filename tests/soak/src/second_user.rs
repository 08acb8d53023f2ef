//! A user who is nobody else. Only root can become one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::libc;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::check::Skip;
use crate::common::{Place, is_root};

pub const OTHER: u32 = 65_534;

/// Whether there can be one.
pub fn possible() -> Result<(), Skip> {
    if is_root() { Ok(()) } else { Err(Skip("only root can become a second user".into())) }
}

/// From now on this process is that user's.
pub fn become_other() {
    setgroups(&[]).unwrap();
    let (gid, uid) = (Gid::from_raw(OTHER), Uid::from_raw(OTHER));
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
    // The change of user has forgotten that it ends with its parent (prctl(2)).
    // SAFETY: prctl with these arguments touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Lets others into the directory, without a look around.
pub fn open_to_others(place: &Place) {
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o711)).unwrap();
}
