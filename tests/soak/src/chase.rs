//! A writer that goes as fast as it can, and readers behind it that check what they get, until that is enough.

use std::thread;
use std::time::Duration;

use crate::check::Tally;
use crate::common::{Child, Words};

/// Shared words, each in a cache line of its own: set to end it, and how many reads were made.
pub const STOP: usize = 0;
pub const READS: usize = 16;

/// Waits until it is enough, ends it, and counts. In the end the writer says how many lines it published; each reader
/// how many it had, and then one number more, which is counted under the name `also`.
pub fn until(
    is_enough: impl Fn() -> bool,
    words: &Words,
    mut writer: Child,
    mut readers: Vec<Child>,
    also: &'static str,
) -> Tally {
    while !is_enough() {
        readers.iter_mut().chain([&mut writer]).for_each(Child::assert_alive);
        thread::sleep(Duration::from_millis(2));
    }
    words.set(STOP, 1);
    let mut tally = Tally::default();
    tally.add("lines published", writer.hear_number());
    for reader in &mut readers {
        tally.add("lines read", reader.hear_number());
        tally.add(also, reader.hear_number());
    }
    readers.into_iter().chain([writer]).for_each(Child::end);
    tally.done = words.get(READS);
    tally
}
