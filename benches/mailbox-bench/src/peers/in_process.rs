//! Peers for what is done in one process: what a write and a read cost with nobody at the other end.
//!
//! All but iceoryx2's blackboard work between threads only, hold values of a fixed size, and wake nobody.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use crossbeam_utils::atomic::AtomicCell;
use seqlock::SeqLock;
use triple_buffer::TripleBuffer;

use crate::Outcome;
use crate::peers::iceoryx::Blackboard;
use crate::place::Place;
use crate::workload::publish::Solo;

/// Writers and readers of each.
type Both = (Vec<Solo<'static>>, Vec<Solo<'static>>);

/// Those that hold values of this size, one of [`SIZES`](crate::workload::in_process::SIZES).
pub fn all(place: &Place, size: usize) -> Outcome<Both> {
    match size {
        32 => of::<32>(place),
        256 => of::<256>(place),
        4096 => of::<4096>(place),
        _ => Err(format!("values of {size} bytes are not compiled in").into()),
    }
}

fn of<const N: usize>(place: &Place) -> Outcome<Both> {
    let seqlock = Rc::new(SeqLock::new([0; N]));
    let (mut input, output) = TripleBuffer::new(&[0; N]).split();
    let output = Rc::new(RefCell::new(output));
    let cell = Rc::new(AtomicCell::new([0; N]));
    let blackboard = Rc::new(Blackboard::<N>::open(place)?);
    let [seqlock_name, triple_name, cell_name, blackboard_name] = [
        "crate seqlock (threads only)",
        "crate triple_buffer (threads only)",
        "crossbeam AtomicCell (threads only)",
        "iceoryx2 blackboard",
    ];
    let writers = vec![
        writes(seqlock_name, {
            let seqlock = Rc::clone(&seqlock);
            move |value| *seqlock.lock_write() = value
        }),
        // The other end is kept: with it gone, a write would still cost the same, and mean nothing.
        writes(triple_name, {
            let _output = Rc::clone(&output);
            move |value| {
                let _ = &_output;
                input.write(value);
            }
        }),
        writes(cell_name, {
            let cell = Rc::clone(&cell);
            move |value| cell.store(value)
        }),
        writes(blackboard_name, {
            let blackboard = Rc::clone(&blackboard);
            move |value| blackboard.update(value)
        }),
    ];
    let readers = vec![
        reads(seqlock_name, move || seqlock.read()),
        reads(triple_name, move || *output.borrow_mut().read()),
        reads(cell_name, move || cell.load()),
        reads(blackboard_name, move || blackboard.get()),
    ];
    Ok((writers, readers))
}

fn writes<const N: usize>(title: &'static str, mut write: impl FnMut([u8; N]) + 'static) -> Solo<'static> {
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

fn reads<const N: usize>(title: &'static str, mut read: impl FnMut() -> [u8; N] + 'static) -> Solo<'static> {
    Solo {
        title,
        run: Box::new(move |times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(read());
            }
            Ok(start.elapsed())
        }),
    }
}
