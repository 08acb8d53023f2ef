//! Models of [`eventcount`](crate::protocol::eventcount): sleeping, polling, waking. The kernel's bucket of sleepers
//! and the doorbell are models too.

use super::slot::Words;
use super::{ASLEEP, BACK, CALLED_OFF, Model};
use crate::protocol::eventcount::{BELL, Eventcount, FUTEX, Futex, Key, Wait};
use crate::protocol::seqlock::{self, Look, Slot};
use crate::protocol::sync::{self, AtomicU32, Ordering::Relaxed, Ordering::SeqCst, Site};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

/// In which order a wake takes sleepers from the queue. The kernel sorts by priority, so it may be any.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Fifo,
    Lifo,
}

/// The kernel's queue of sleepers on one futex, under its lock.
struct Bucket {
    queue: Mutex<Queue>,
    order: Order,
}

struct Queue {
    sleepers: Vec<(u32, Arc<Condvar>)>,
    /// Readers that do not have the last line yet. At 0 the slice of all who sleep is over: a reader asleep for want of
    /// anything new is no fault, one asleep for ever on a new line is, and then this is never 0.
    unserved: usize,
}

impl Bucket {
    fn new(readers: usize, order: Order) -> Self {
        Self { queue: Mutex::new(Queue { sleepers: Vec::new(), unserved: readers }), order }
    }

    /// One more reader has the last line.
    fn serve(&self) {
        let mut queue = self.queue.lock().unwrap();
        queue.unserved -= 1;
        if queue.unserved == 0 {
            queue.sleepers.drain(..).for_each(|(_, alarm)| alarm.notify_one());
        }
    }
}

impl Futex for Bucket {
    type Deadline = ();

    fn wait(&self, word: &AtomicU32, key: u32, bit: u32, (): ()) -> Wait {
        let mut queue = self.queue.lock().unwrap();
        if word.load(Relaxed) != key {
            return Wait::Moved;
        }
        if queue.unserved == 0 {
            return Wait::TimedOut;
        }
        let alarm = Arc::new(Condvar::new());
        queue.sleepers.push((bit, Arc::clone(&alarm)));
        queue = alarm.wait(queue).unwrap();
        if queue.unserved == 0 { Wait::TimedOut } else { Wait::Woken }
    }

    fn wake(&self, _: &AtomicU32, count: u32, bits: u32) {
        let mut queue = self.queue.lock().unwrap();
        for _ in 0..count {
            let mut matching =
                queue.sleepers.iter().enumerate().filter(|(_, (bit, _))| bit & bits != 0).map(|(at, _)| at);
            let found = if self.order == Order::Fifo { matching.next() } else { matching.next_back() };
            let Some(found) = found else { return };
            queue.sleepers.remove(found).1.notify_one();
        }
    }
}

/// The doorbell's event, for one reader: edge-triggered, kept until consumed.
struct Bell {
    rung: Mutex<bool>,
    edge: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.edge.notify_one();
    }
    fn consume(&self) {
        *self.rung.lock().unwrap() = false;
    }
    fn poll(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.edge.wait(rung).unwrap();
        }
    }
}

/// A mailbox with its sleepers: an empty slot of two banks and the wait page.
struct Mailbox {
    slot: Words,
    leaving: AtomicU32,
    waiters: AtomicU32,
    epoch: AtomicU32,
    bucket: Bucket,
    bell: Bell,
}

impl Mailbox {
    /// `readers`: how many there are.
    fn new(readers: usize, order: Order) -> Arc<Self> {
        Arc::new(Self {
            slot: Words::holding(2, 0),
            leaving: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            bucket: Bucket::new(readers, order),
            bell: Bell { rung: Mutex::new(false), edge: Condvar::new() },
        })
    }

    fn eventcount(&self) -> Eventcount<'_> {
        // One, so that the second sleeper depends on the first's relay.
        Eventcount { waiters: &self.waiters, epoch: &self.epoch, fan_out: 1 }
    }

    /// The newest number, by the bank or by `latest`. Two banks and two messages: nobody is lapped.
    fn look(&self, held: u64) -> u64 {
        let Look::Newest(number) = seqlock::look(&self.slot, held) else { panic!("lapped") };
        number
    }

    /// Steps 3 to 5 of a publish; the line itself has no part in this.
    fn publish(&self, number: u64, notify: Notify, always: bool) {
        seqlock::end_write(self.slot.bank(number), number);
        seqlock::announce(&self.slot, number);
        if (always || self.eventcount().has_waiters()) && notify(self, always) {
            self.bell.ring();
        }
    }
}

/// The writer's cold path: [`Eventcount::notify`], or a weakened substitute. Returns whether to ring.
type Notify = fn(&Mailbox, bool) -> bool;

fn notify(mailbox: &Mailbox, always: bool) -> bool {
    mailbox.eventcount().notify(&mailbox.bucket, always)
}

/// Takes the flags by a load and a store.
fn notify_with_plain_store(mailbox: &Mailbox, _: bool) -> bool {
    let flags = mailbox.waiters.load(SeqCst);
    mailbox.waiters.store(0, SeqCst);
    if flags & FUTEX != 0 {
        wake_all(mailbox, |epoch| _ = sync::increment_release(Site::Bump, epoch));
    }
    flags & BELL != 0
}

/// Moves the epoch by a load and a store.
fn notify_with_plain_bump(mailbox: &Mailbox, always: bool) -> bool {
    let flags = mailbox.waiters.swap(0, SeqCst);
    if always || flags & FUTEX != 0 {
        wake_all(mailbox, |epoch| epoch.store(epoch.load(Relaxed) + 1, SeqCst));
    }
    flags & BELL != 0
}

fn wake_all(mailbox: &Mailbox, bump: fn(&AtomicU32)) {
    bump(&mailbox.epoch);
    mailbox.bucket.wake(&mailbox.epoch, 1, u32::MAX);
}

/// The reader's steps before it sleeps: key, flag, look; or in another order. Returns the newest number.
type Prepare = fn(&Mailbox, u64) -> (Key, u64);

fn prepare(mailbox: &Mailbox, held: u64) -> (Key, u64) {
    let key = mailbox.eventcount().prepare_wait();
    mailbox.eventcount().arm(FUTEX);
    (key, mailbox.look(held))
}

/// Looks before it has set the flag.
fn look_before_arming(mailbox: &Mailbox, held: u64) -> (Key, u64) {
    let key = mailbox.eventcount().prepare_wait();
    let newest = mailbox.look(held);
    mailbox.eventcount().arm(FUTEX);
    (key, newest)
}

/// Takes the key last.
fn key_after_look(mailbox: &Mailbox, held: u64) -> (Key, u64) {
    mailbox.eventcount().arm(FUTEX);
    let newest = mailbox.look(held);
    (mailbox.eventcount().prepare_wait(), newest)
}

/// Sets no flag: a reader that may not write, with a writer that always wakes.
fn unarmed(mailbox: &Mailbox, held: u64) -> (Key, u64) {
    (mailbox.eventcount().prepare_wait(), mailbox.look(held))
}

/// Sleeping and relaying: [`Eventcount::wait`], or a weakened substitute.
type Sleep = fn(&Mailbox, Key, u64) -> Wait;

fn sleep(mailbox: &Mailbox, key: Key, _: u64) -> Wait {
    mailbox.eventcount().wait(&mailbox.bucket, key, ())
}

/// Wakes nobody else.
fn without_relay(mailbox: &Mailbox, key: Key, _: u64) -> Wait {
    let silent = Eventcount { fan_out: 0, ..mailbox.eventcount() };
    silent.wait(&mailbox.bucket, key, ())
}

/// Wakes others only if it found a new line: the rule that suggests itself.
fn relay_if_new(mailbox: &Mailbox, key: Key, held: u64) -> Wait {
    let wait = without_relay(mailbox, key, held);
    if wait == Wait::Woken && mailbox.look(held) > held {
        mailbox.bucket.wake(&mailbox.epoch, 1, u32::MAX);
    }
    wait
}

/// A reader that sleeps until it has the last line.
#[derive(Clone, Copy)]
struct Sleeper {
    prepare: Prepare,
    sleep: Sleep,
    /// It looks once while awake, and having the last line it sleeps once more, so that it can take a wake from
    /// another.
    afresh: bool,
}

const PLAIN: Sleeper = Sleeper { prepare, sleep, afresh: false };
const AFRESH: Sleeper = Sleeper { afresh: true, ..PLAIN };

impl Sleeper {
    fn run(mut self, mailbox: &Mailbox, last: u64) {
        let mut held = if self.afresh { mailbox.look(0) } else { 0 };
        let mut served = false;
        loop {
            if held == last {
                if !served {
                    mailbox.bucket.serve();
                    served = true;
                }
                if !self.afresh {
                    return;
                }
                self.afresh = false;
            }
            let (key, newest) = (self.prepare)(mailbox, held);
            assert!(newest >= held, "{BACK}");
            if newest > held {
                held = newest;
                continue;
            }
            if (self.sleep)(mailbox, key, held) == Wait::TimedOut {
                return;
            }
        }
    }
}

/// When a poller consumes its event.
#[derive(Clone, Copy, PartialEq)]
enum Consume {
    BeforeArming,
    AfterLook,
}

/// A reader that polls the doorbell until it has the last line.
fn poll(mailbox: &Mailbox, last: u64, consume: Consume) {
    let mut held = 0;
    while held < last {
        if consume == Consume::BeforeArming {
            mailbox.bell.consume();
        }
        mailbox.eventcount().arm(BELL);
        let newest = mailbox.look(held);
        if consume == Consume::AfterLook {
            mailbox.bell.consume();
        }
        if newest == held {
            mailbox.bell.poll();
        }
        held = mailbox.look(newest);
    }
}

/// What the writer does in a model.
#[derive(Clone, Copy)]
struct Writer {
    messages: u64,
    notify: Notify,
    always: bool,
}

const ONE: Writer = Writer { messages: 1, notify, always: false };
const TWO: Writer = Writer { messages: 2, ..ONE };
const ALWAYS: Writer = Writer { always: true, ..ONE };

impl Writer {
    fn spawn(self, mailbox: &Arc<Mailbox>) -> thread::JoinHandle<()> {
        let mailbox = Arc::clone(mailbox);
        thread::spawn(move || (1..=self.messages).for_each(|number| mailbox.publish(number, self.notify, self.always)))
    }
}

/// One writer, one sleeper.
fn one(writer: Writer, reader: Sleeper) {
    let mailbox = Mailbox::new(1, Order::Fifo);
    let thread = writer.spawn(&mailbox);
    reader.run(&mailbox, writer.messages);
    thread.join().unwrap();
}

/// One writer, two sleepers.
fn two(order: Order, first: Sleeper, second: Sleeper) {
    let mailbox = Mailbox::new(2, order);
    let writer = ONE.spawn(&mailbox);
    let other = Arc::clone(&mailbox);
    let other = thread::spawn(move || first.run(&other, 1));
    second.run(&mailbox, 1);
    other.join().unwrap();
    writer.join().unwrap();
}

/// One writer, one poller.
fn one_poller(writer: Writer, consume: Consume) {
    let mailbox = Mailbox::new(0, Order::Fifo);
    let thread = writer.spawn(&mailbox);
    poll(&mailbox, writer.messages, consume);
    thread.join().unwrap();
}

/// One writer, a sleeper and a poller.
fn sleeper_and_poller(writer: Writer) {
    let mailbox = Mailbox::new(1, Order::Fifo);
    let thread = writer.spawn(&mailbox);
    let other = Arc::clone(&mailbox);
    let other = thread::spawn(move || poll(&other, writer.messages, Consume::BeforeArming));
    PLAIN.run(&mailbox, writer.messages);
    other.join().unwrap();
    thread.join().unwrap();
}

/// One writer, one sleeper, and another process that moves the epoch, as `rm --force` does.
fn intruder(writer: Writer) {
    let mailbox = Mailbox::new(1, Order::Fifo);
    let thread = writer.spawn(&mailbox);
    let other = Arc::clone(&mailbox);
    let other = thread::spawn(move || _ = (writer.notify)(&other, true));
    PLAIN.run(&mailbox, writer.messages);
    other.join().unwrap();
    thread.join().unwrap();
}

/// Somebody sets `leaving` and wakes; the reader waits for that.
fn departure(flag: Option<u32>) {
    let mailbox = Mailbox::new(1, Order::Fifo);
    let other = Arc::clone(&mailbox);
    let other = thread::spawn(move || {
        other.leaving.store(1, Relaxed);
        other.eventcount().notify_all(&other.bucket);
    });
    loop {
        let key = mailbox.eventcount().prepare_wait();
        if let Some(flag) = flag {
            mailbox.eventcount().arm(flag);
        }
        if mailbox.leaving.load(Relaxed) != 0 {
            break;
        }
        mailbox.eventcount().wait(&mailbox.bucket, key, ());
    }
    other.join().unwrap();
}

/// Somebody takes a file's name and says so, while its writer takes `leaving` for that of one who was killed, and clears
/// it: `set_leaving_for_good` and `call_off_leaving` of `life_cycle.rs`, which is not over loom's atomics. The last word
/// must be that the file leaves.
fn called_off(gone: bool, called_off: bool) {
    let (leaving, links) = (AtomicU32::new(1), AtomicU32::new(1));
    let words = Arc::new((leaving, links));
    let other = Arc::clone(&words);
    let remover = thread::spawn(move || {
        other.1.store(0, Relaxed);
        if gone {
            sync::core_fence(SeqCst);
        }
        other.0.store(1, Relaxed);
    });
    let (leaving, links) = &*words;
    leaving.store(0, Relaxed);
    if called_off {
        sync::core_fence(SeqCst);
    }
    if links.load(Relaxed) == 0 {
        leaving.store(1, Relaxed);
    }
    remover.join().unwrap();
    assert!(leaving.load(Relaxed) == 1, "{CALLED_OFF}");
}

/// Steps after the publication after which the first writer can stop; 0: before `latest`.
const STEPS: usize = 4;

/// What a new writer does for sleepers once it has recovered the slot.
type Heir = fn(&Mailbox);

fn notify_all(mailbox: &Mailbox) {
    mailbox.eventcount().notify_all(&mailbox.bucket);
    mailbox.bell.ring();
}

/// Wakes and rings, but leaves the epoch.
fn wake_without_bump(mailbox: &Mailbox) {
    wake_all(mailbox, |_| ());
    mailbox.bell.ring();
}

/// The writer stops `steps` steps after the publication, the lock passes on (by a spawn), and a second one recovers.
fn succession(steps: usize, heir: Heir, reader: fn(&Mailbox)) {
    let mailbox = Mailbox::new(1, Order::Fifo);
    let first = Arc::clone(&mailbox);
    let first = thread::spawn(move || {
        seqlock::end_write(first.slot.bank(1), 1);
        if steps >= 1 {
            seqlock::announce(&first.slot, 1);
        }
        if steps >= 2 && first.eventcount().has_waiters() {
            first.waiters.swap(0, SeqCst);
            if steps >= 3 {
                sync::increment_release(Site::Bump, &first.epoch);
            }
            if steps >= 4 {
                first.bucket.wake(&first.epoch, 1, u32::MAX);
            }
        }
        thread::spawn(move || {
            assert_eq!(seqlock::recover(&first.slot), Ok(1));
            heir(&first);
        })
    });
    reader(&mailbox);
    first.join().unwrap().join().unwrap();
}

fn sleeps(mailbox: &Mailbox) {
    PLAIN.run(mailbox, 1);
}

fn polls(mailbox: &Mailbox) {
    poll(mailbox, 1, Consume::BeforeArming);
}

pub fn sleeper() -> Model {
    Model::exhaustive(|| one(ONE, PLAIN))
}

pub fn poller() -> Model {
    Model::exhaustive(|| one_poller(ONE, Consume::BeforeArming))
}

/// All models with a flag.
pub fn armed() -> Vec<Model> {
    vec![
        sleeper(),
        poller(),
        Model::new(|| one(TWO, PLAIN)),
        Model::new(|| one_poller(TWO, Consume::BeforeArming)),
        Model::new(|| sleeper_and_poller(ONE)),
        Model::new(|| departure(Some(FUTEX))),
    ]
}

/// Without a flag: the writer always wakes.
pub fn always() -> Model {
    Model::exhaustive(|| one(ALWAYS, Sleeper { prepare: unarmed, ..PLAIN }))
}

/// Without a flag: the mailbox leaves.
pub fn leaving() -> Model {
    Model::exhaustive(|| departure(None))
}

#[test]
fn who_waits_is_woken() {
    armed().iter().for_each(Model::holds);
    Model::new(|| one(ONE, Sleeper { prepare: look_before_arming, ..PLAIN })).fails(ASLEEP);
    Model::new(|| one(ONE, Sleeper { prepare: key_after_look, ..PLAIN })).fails(ASLEEP);
    Model::new(|| one_poller(ONE, Consume::AfterLook)).fails(ASLEEP);
}

/// The twin wipes the flag of a poller that arms between the load and the store, when a sleeper's flag brought it
/// there. (Pollers alone or sleepers alone do not show it: the wake that follows reaches them.)
#[test]
fn taking_the_flags_wipes_none() {
    Model::new(|| sleeper_and_poller(TWO)).within(3).holds();
    Model::new(|| sleeper_and_poller(Writer { notify: notify_with_plain_store, ..TWO })).fails(ASLEEP);
}

#[test]
fn the_tree_reaches_every_sleeper() {
    for order in [Order::Fifo, Order::Lifo] {
        Model::new(move || two(order, PLAIN, PLAIN)).within(3).holds();
        Model::new(move || two(order, PLAIN, AFRESH)).holds();
    }
}

/// The first twin serves one sleeper only. In the second, a reader that took the line while awake sleeps afresh, before
/// the epoch moves, absorbs the wake and has nothing to relay it for.
#[test]
fn a_tree_without_relay_or_with_the_naive_one_does_not() {
    let with = |sleep| (Sleeper { sleep, ..PLAIN }, Sleeper { sleep, ..AFRESH });
    let (plain, _) = with(without_relay);
    Model::new(move || two(Order::Fifo, plain, plain)).fails(ASLEEP);
    let (plain, afresh) = with(relay_if_new);
    Model::new(move || two(Order::Fifo, plain, plain)).within(3).holds();
    Model::new(move || two(Order::Fifo, plain, afresh)).fails(ASLEEP);
}

#[test]
fn a_writer_that_always_wakes_needs_no_flag() {
    always().holds();
    leaving().holds();
    Model::new(|| one(ONE, Sleeper { prepare: unarmed, ..PLAIN })).fails(ASLEEP);
}

#[test]
fn recovery_wakes_whom_the_dead_writer_left_asleep() {
    for steps in 0..=STEPS {
        Model::new(move || succession(steps, notify_all, sleeps)).holds();
        Model::new(move || succession(steps, notify_all, polls)).holds();
    }
    // The flag is taken, the epoch has not moved: the reader may be asleep, or about to fall asleep.
    Model::new(|| succession(2, |_| (), sleeps)).fails(ASLEEP);
    Model::new(|| succession(2, |_| (), polls)).fails(ASLEEP);
    Model::new(|| succession(2, wake_without_bump, sleeps)).fails(ASLEEP);
}

#[test]
fn the_epoch_may_be_moved_by_two() {
    Model::new(|| intruder(ONE)).holds();
    Model::new(|| intruder(Writer { notify: notify_with_plain_bump, ..TWO })).fails(ASLEEP);
}

#[test]
fn leaving_is_not_called_off_for_good() {
    Model::exhaustive(|| called_off(true, true)).holds();
    Model::exhaustive(|| called_off(true, false)).fails(CALLED_OFF);
    Model::exhaustive(|| called_off(false, true)).fails(CALLED_OFF);
}
