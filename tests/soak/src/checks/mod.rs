//! The checks, one file each: what it does, and the roles that its child processes play.

mod crowd;
mod dead_sleepers;
mod freshness;
mod leaks;
mod life_steps;
mod missed_wakes;
mod publish_steps;
mod refusals;
mod restarts;
mod signals;
mod stopped_writer;
mod torn_reads;

use crate::check::Check;
use crate::common::Role;

/// All of them, in the order of `docs/trust.md`.
pub const ALL: &[Check] = &[
    torn_reads::A1,
    freshness::A2,
    restarts::A3,
    publish_steps::B1,
    life_steps::B2,
    restarts::B3,
    missed_wakes::B4,
    dead_sleepers::B5,
    missed_wakes::B6,
    stopped_writer::B6W,
    refusals::B7,
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
        life_steps::ROLES,
        missed_wakes::ROLES,
        publish_steps::ROLES,
        refusals::ROLES,
        restarts::ROLES,
        signals::ROLES,
        torn_reads::ROLES,
    ]
    .concat()
}
