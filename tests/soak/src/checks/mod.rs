//! The checks, one file each: what it does, and the roles that its child processes play.

mod bell_abuse;
mod crowd;
mod damaged_file;
mod dead_sleepers;
mod forks;
mod freshness;
mod full_tmpfs;
mod held_up;
mod leaks;
mod life_steps;
mod missed_wakes;
mod publish_steps;
mod refusals;
mod restarts;
mod scribbling;
mod signals;
mod squatting;
mod stopped_writer;
mod storm;
mod successions;
mod torn_reads;
mod truncation;

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
    damaged_file::C1,
    scribbling::C2,
    truncation::C3,
    squatting::C4,
    held_up::C5,
    bell_abuse::C6,
    full_tmpfs::D1,
    forks::D2,
    storm::D3,
    successions::D4,
    signals::D5,
    leaks::D6,
];

/// What child processes can be told to play.
pub fn roles() -> Vec<Role<'static>> {
    [
        bell_abuse::ROLES,
        crowd::ROLES,
        damaged_file::ROLES,
        dead_sleepers::ROLES,
        forks::ROLES,
        freshness::ROLES,
        full_tmpfs::ROLES,
        held_up::ROLES,
        leaks::ROLES,
        life_steps::ROLES,
        missed_wakes::ROLES,
        publish_steps::ROLES,
        refusals::ROLES,
        restarts::ROLES,
        scribbling::ROLES,
        signals::ROLES,
        squatting::ROLES,
        storm::ROLES,
        successions::ROLES,
        torn_reads::ROLES,
        truncation::ROLES,
    ]
    .concat()
}
