//! Peers for what is done in one process: the cost of a write to its writer, with nobody reading.
//!
//! All but iceoryx2's blackboard work between threads only, hold values of a fixed size, and wake nobody.

use std::hint::black_box;
use std::time::Instant;

use crossbeam_utils::atomic::AtomicCell;
use seqlock::SeqLock;
use triple_buffer::TripleBuffer;

use crate::Outcome;
use crate::peers::iceoryx::Blackboard;
use crate::place::Place;
use crate::workload::publish::Solo;

/// Those that hold values of this size: 32, 256 or 4096 bytes, known when the program is built.
pub fn writers(place: &Place, size: usize) -> Outcome<Vec<Solo<'static>>> {
    match size {
        32 => of::<32>(place),
        256 => of::<256>(place),
        4096 => of::<4096>(place),
        _ => Ok(Vec::new()),
    }
}

fn of<const N: usize>(place: &Place) -> Outcome<Vec<Solo<'static>>> {
    let seqlock = SeqLock::new([0; N]);
    let (mut input, output) = TripleBuffer::new(&[0; N]).split();
    let cell = AtomicCell::new([0; N]);
    let blackboard = Blackboard::<N>::open(place)?;
    Ok(vec![
        solo("crate seqlock (threads only)", move |value| *seqlock.lock_write() = value),
        solo("crate triple_buffer (threads only)", move |value| {
            let _keep = &output;
            input.write(value);
        }),
        solo("crossbeam AtomicCell (threads only)", move |value| cell.store(value)),
        solo("iceoryx2 blackboard", move |value| blackboard.update(value)),
    ])
}

fn solo<const N: usize>(title: &'static str, mut write: impl FnMut([u8; N]) + 'static) -> Solo<'static> {
    Solo {
        title,
        run: Box::new(move |times| {
            let value = [b'x'; N];
            let start = Instant::now();
            for _ in 0..times {
                write(black_box(value));
            }
            Ok(start.elapsed())
        }),
    }
}
