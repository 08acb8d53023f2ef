//! The checks, one file each: what it does, and the roles that its child processes play.

mod torn_reads;

use crate::check::Check;
use crate::common::Role;

/// All of them, in the order of `docs/trust.md`.
pub const ALL: &[Check] = &[torn_reads::A1];

/// What child processes can be told to play.
pub fn roles() -> Vec<Role<'static>> {
    [torn_reads::ROLES].concat()
}
