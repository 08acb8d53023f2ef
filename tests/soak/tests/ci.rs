//! Each check of `mailbox-soak` at the size that the tests can afford.

use std::process::Command;
use std::sync::Mutex;

/// One after the other: each is made for the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

fn check(id: &str) {
    let _alone = ALONE.lock();
    let output = Command::new(env!("CARGO_BIN_EXE_mailbox-soak")).args(["--ci", "--only", id]).output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Past the test harness, which shows only what failed.
    _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{said}{complaints}").as_bytes());
    assert!(output.status.success(), "{id}: {}\n{complaints}", output.status);
    let has_counted = said.starts_with(id) && said.contains(" 0 bad");
    assert!(has_counted || complaints.contains(&format!("skipped: {id}: ")), "{id} says nothing: {said}{complaints}");
}

macro_rules! checks {
    ($($name:ident $id:literal)*) => {
        $(#[test] fn $name() { check($id) })*

        #[test]
        fn every_check_is_here() {
            let output = Command::new(env!("CARGO_BIN_EXE_mailbox-soak")).arg("--list").output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let listed: Vec<_> = said.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
            assert_eq!(listed, [$($id),*]);
        }
    };
}

checks! {
    a1_torn_reads "A1"
    a2_freshness "A2"
    a3_one_number_one_line "A3"
    b1_publish_steps "B1"
    b2_life_steps "B2"
    b3_killed_writers "B3"
    b4_killed_before_waking "B4"
    b5_killed_sleepers "B5"
    b6_stopped_relays "B6"
    b6w_stopped_writer "B6w"
    b7_refusals "B7"
    c1_damaged_file "C1"
    c2_scribbling "C2"
    c3_truncation "C3"
    c4_squatting "C4"
    c5_held_up "C5"
    c6_bell_abuse "C6"
    d1_full_tmpfs "D1"
    d2_forks "D2"
    d3_storm "D3"
    d4_successions "D4"
    d5_signals "D5"
    d6_leaks "D6"
}
