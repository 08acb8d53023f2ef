//! The checks, one file each: what it does, and the roles that its child processes play.

mod crowd;
mod dead_sleepers;
mod freshness;
mod leaks;
mod missed_wakes;
mod restarts;
mod signals;
mod torn_reads;

use crate::check::Check;
use crate::common::Role;

/// All of them, in the order of `docs/trust.md`.
pub const ALL: &[Check] = &[
    torn_reads::A1,
    freshness::A2,
    restarts::A3,
    restarts::B3,
    missed_wakes::B4,
    dead_sleepers::B5,
    missed_wakes::B6,
    signals::D5,
    leaks::D6,
];

/// What child processes can be told to play.
pub fn roles() -> Vec<Role<'static>> {
    [
        crowd::ROLES,
        dead_sleepers::ROLES,
        freshness::ROLES,
        leaks::ROLES,
        missed_wakes::ROLES,
        restarts::ROLES,
        signals::ROLES,
        torn_reads::ROLES,
    ]
    .concat()
}
