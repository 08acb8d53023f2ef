/* A file that loses its name under readers that wait: growth, removal, a swept mailbox that is put back
   (`src/life_cycle.rs`: `succeed`, `remove_name`, `Hold::keep`; `src/follower.rs`: `look`, `leave`, `prepare_sleep`,
   `arm_doorbell`).

   One file, its writer, READERS readers that sleep and POLLERS that poll the doorbell. The writer publishes MESSAGES
   lines in it; then the file loses its name, and the next line is published in the next file. Wanted:
     - when nothing moves any more, nobody waits on a file without a name, or beside a line;
     - a read that begins after a line was published in the next file does not end in this one;
     - things come to rest: no reader is busy while a writer is stopped between `leaving` and the rename.
   No time slice, all in one order: as in tree.pml. The doorbell is one step: its own are in bell.pml.

   READERS, POLLERS, MESSAGES   how many
   ORDER     LEAVING_NAME_EPOCH: growth and removal, as the code. NAME_LEAVING_EPOCH: swept by strangers and put back by
             its writer, as the code. NAME_ALONE: swept, and nobody says so; a limit: see README.md
   STOPPED   1: the writer may stop for ever between `leaving` and the rename
   KILLED    1: it may be killed there; the next one clears `leaving`, wakes, and does it all again
   FAILURES  how often the rename may fail, after which `leaving` is cleared
   FORCED    1: `rm --force`, beside a writer that publishes
   CALLS_OFF 1: beside `rm --force`, the writer clears a `leaving` whose file has its name still
   LOOKS_AGAIN   1: and looks again afterwards, as the code; 0 is weak
   ARMING    0: readers may not write the wait page and set no flag
   FAN_OUT, BITS, QUEUE   see futex.pml

   Weakened, each must fail:
   ORDER     LEAVING_EPOCH_NAME: the epoch moves before the name goes. NAME_EPOCH_LEAVING: `leaving` comes last
   FORGETS   SLEEPER, POLLER: does not look at `leaving` again once it has set its flag
   ASKED     EPOCH_FIRST: the epoch is loaded, then the link count asked for; as the code. EPOCH_LAST: the other way
             round. ONCE: asked once, whatever the epoch does. NEVER: nothing is remembered, and `leaving` keeps a
             reader awake
   NEXT_LINE AFTER_EPOCH: as the code. BEFORE_EPOCH: published in the next file before the epoch of this one moves
   SET_TWICE 1: `leaving` is set again when the name is gone; as the code. 0
   RELAY     1: as the code. 0: who was woken wakes nobody */

#ifndef READERS
#define READERS 2
#endif
#ifndef POLLERS
#define POLLERS 0
#endif
#ifndef MESSAGES
#define MESSAGES 0
#endif
#ifndef STOPPED
#define STOPPED 0
#endif
#ifndef KILLED
#define KILLED 0
#endif
#ifndef FAILURES
#define FAILURES 0
#endif
#ifndef FORCED
#define FORCED 0
#endif
#ifndef CALLS_OFF
#define CALLS_OFF 0
#endif
#ifndef LOOKS_AGAIN
#define LOOKS_AGAIN 0
#endif
#ifndef SET_TWICE
#define SET_TWICE 1
#endif
#ifndef ARMING
#define ARMING 1
#endif

#define LEAVING_NAME_EPOCH 1
#define NAME_LEAVING_EPOCH 2
#define NAME_ALONE         3
#define LEAVING_EPOCH_NAME 4
#define NAME_EPOCH_LEAVING 5
#ifndef ORDER
#define ORDER LEAVING_NAME_EPOCH
#endif

#define SLEEPER 1
#define POLLER  2
#ifndef FORGETS
#define FORGETS 0
#endif

#define EPOCH_FIRST 1
#define EPOCH_LAST  2
#define ONCE        3
#define NEVER       4
#ifndef ASKED
#define ASKED EPOCH_FIRST
#endif

#define AFTER_EPOCH  1
#define BEFORE_EPOCH 2
#ifndef NEXT_LINE
#define NEXT_LINE AFTER_EPOCH
#endif

#ifndef RELAY
#define RELAY 1
#endif

#include "futex.pml"

#define FUTEX 1
#define BELL  2

#define WAITING (READERS + POLLERS)

bit leaving;
bit is_named = 1;               /* the file's link count */
bit next_line;                  /* a line was published in the next file */
byte latest;                    /* and the sequence of its bank */
byte waiters;                   /* FUTEX, BELL */
byte held[WAITING];             /* number of the message that was returned last */
byte leaving_asked[WAITING];    /* `Option<u32>`: 0 is None, epoch + 1 is Some(epoch) */
#if POLLERS
bit event[WAITING];             /* the poller's descriptor is ready */
bit polls[WAITING];             /* its caller waits for that */
#endif

/* `Reader::leave`, where `leaving` was seen: sets `has_left` if the file has lost its name. */
inline leave() {
#if ASKED == EPOCH_FIRST
  now = epoch;                                          /* prepare_wait().epoch() */
  if
  :: leaving_asked[_pid] == now + 1                     /* asked since the epoch moved: the matter rests */
  :: else ->
     if                                                 /* has_lost_its_name: fstat(2) */
     :: !is_named -> has_left = 1
     :: else -> leaving_asked[_pid] = now + 1
     fi
  fi;
  now = 0
#elif ASKED == EPOCH_LAST
  if
  :: leaving_asked[_pid] == epoch + 1
  :: else ->
     if
     :: !is_named -> has_left = 1
     :: else -> leaving_asked[_pid] = epoch + 1
     fi
  fi
#elif ASKED == ONCE
  if
  :: leaving_asked[_pid]
  :: else ->
     if
     :: !is_named -> has_left = 1
     :: else -> leaving_asked[_pid] = 1
     fi
  fi
#else
  has_left = !is_named
#endif
}

/* `Reader::turn`, called again and again. */
active [READERS] proctype Reader() {
  byte now;
  bit has_left, late_read;

look:
  /* Reader::look. */
  late_read = next_line;                                  /* this read begins after that line; no step of the code */
  if
  :: leaving -> leave(); if :: has_left -> goto left_file :: else fi
  :: else
  fi;
  assert(!late_read);
  if
  :: atomic { latest > held[_pid] -> held[_pid] = latest }; goto look      /* a line; the next call */
  :: else
  fi;

  /* Spin::until: ended by `leaving`, unless that was asked about. */
  if
  :: leaving && !leaving_asked[_pid] && ASKED != NEVER -> goto look
  :: skip
  fi;

  /* Reader::prepare_sleep. */
  key[_pid] = epoch;                                    /* Eventcount::prepare_wait */
#if ARMING
  waiters = waiters | FUTEX;                            /* Eventcount::arm */
#endif
  if
  :: latest > held[_pid] -> key[_pid] = 0; goto look    /* `has_announced` */
  :: else
  fi;
#if FORGETS != SLEEPER
  if
  :: leaving ->
     leave();
     if
     :: has_left -> key[_pid] = 0; goto left_file
     :: else ->
#if ASKED == NEVER
        key[_pid] = 0; goto look                        /* counts as something there */
#else
        skip
#endif
     fi
  :: else
  fi;
#endif
  /* Eventcount::wait. */
  atomic {
    if
    :: epoch == key[_pid] -> enqueue(_pid)
    :: else -> key[_pid] = 0; goto look                 /* Wait::Moved */
    fi
  };
end_asleep:
  !asleep[_pid];                                        /* Wait::Woken */
#if RELAY
  atomic { now = epoch; key[_pid] = 0 };
  futex_wake(BIT(now));
  now = 0;
#else
  key[_pid] = 0;
#endif
  goto look;

left_file:
  skip
}

#if POLLERS
/* A caller that polls, then calls `try_read` until that says nothing. */
active [POLLERS] proctype Poller() {
  byte now;
  bit has_left, late_read;

  event[_pid] = 1;                                      /* ready when made */
poll:
  polls[_pid] = 1;
end_polls:
  event[_pid];
  polls[_pid] = 0;

try_read:
  /* Reader::look. */
  late_read = next_line;
  if
  :: leaving -> leave(); if :: has_left -> goto left_file :: else fi
  :: else
  fi;
  assert(!late_read);
  if
  :: atomic { latest > held[_pid] -> held[_pid] = latest }; goto try_read
  :: else
  fi;
  /* Reader::arm_doorbell. */
  event[_pid] = 0;                                      /* PollSet::consume */
  waiters = waiters | BELL;                             /* Eventcount::arm */
  if                                                    /* `!has_announced && leaving == 0`: nothing */
  :: latest > held[_pid] -> goto look_again
  :: else
  fi;
#if FORGETS != POLLER
  if
  :: leaving
  :: else -> goto poll
  fi;
#else
  goto poll;
#endif
look_again:
  if
  :: leaving -> leave(); if :: has_left -> goto left_file :: else fi
  :: else
  fi;
  if
  :: atomic { latest > held[_pid] -> held[_pid] = latest }; goto try_read
  :: else -> goto poll
  fi;

left_file:
  skip
}
#endif

/* `Bell::ring`, as one step. */
inline ring() {
#if POLLERS
  d_step {
    at = READERS;
    do
    :: at < WAITING -> event[at] = 1; at++
    :: else -> break
    od;
    at = 0
  }
#else
  skip
#endif
}

/* `Eventcount::notify` and what follows it: a ring if the flag was set, or always (`wake_all`, `remove_name`). */
inline notify_and_ring(always) {
  atomic { flags = waiters; waiters = 0 };
  if
  :: always || (flags & FUTEX) -> epoch++; futex_wake(NOBODY)
  :: else
  fi;
  if
  :: always || (flags & BELL) -> ring()
  :: else
  fi;
  flags = 0
}

/* `Writer::publish_line`, MESSAGES times, or until the writer finds its mailbox removed. */
inline publish_lines() {
  do
  :: number < MESSAGES && !(FORCED && leaving && !is_named) ->
     number++;
     latest = number;
     if
     :: waiters == 0
     :: else -> notify_and_ring(0)
     fi
  :: else -> break
  od
}

/* How the file loses its name. */
inline lose_name() {
#if ORDER == LEAVING_NAME_EPOCH
  leaving = 1;                                          /* set_leaving */
#if STOPPED
  if :: goto stopped :: skip fi;
#endif
#if KILLED
  if
  :: !was_killed ->
     was_killed = 1;                                    /* the next writer, `take_over`: */
     leaving = 0;
     notify_and_ring(1);                                /* wake_all; and then it grows the mailbox itself */
     leaving = 1
  :: skip
  fi;
#endif
#if FAILURES
  do
  :: failures < FAILURES -> failures++; leaving = 0; leaving = 1     /* `replace` failed; another `grow`, later */
  :: break
  od;
#endif
  is_named = 0;                                         /* shm::replace: rename(2); Directory::remove: unlink(2) */
#if SET_TWICE
  leaving = 1;                                          /* set_leaving: somebody may have called it off */
#endif
#if NEXT_LINE == BEFORE_EPOCH
  next_line = 1;
#endif
  notify_and_ring(1);                                   /* wake_all */
#elif ORDER == NAME_LEAVING_EPOCH
  is_named = 0;                                         /* by strangers */
  leaving = 1;                                          /* Hold::keep, once the next file has the name */
  notify_and_ring(1);
#elif ORDER == NAME_ALONE
  is_named = 0;
#elif ORDER == LEAVING_EPOCH_NAME
  leaving = 1;
  notify_and_ring(1);
  is_named = 0;
#else
  is_named = 0;
  notify_and_ring(1);
  leaving = 1;
#endif
  skip
}

active proctype Writer() {
  byte number, flags;
#if KILLED
  bit was_killed;
#endif
#if FAILURES
  byte failures;
#endif
  publish_lines();
#if CALLS_OFF
  /* Writer::call_off_leaving; `was_leaving` and the second between two looks are left to chance. */
  if
  :: leaving ->
     if
     :: is_named ->                                     /* has_lost_its_name */
        leaving = 0;
#if LOOKS_AGAIN
        if
        :: !is_named -> leaving = 1; notify_and_ring(1)
        :: else
        fi
#endif
     :: else
     fi
  :: skip
  fi;
#endif
#if !FORCED
  lose_name();
#if ORDER != NAME_ALONE
  next_line = 1;                                        /* the first publish after `grow` has returned */
#endif
#if STOPPED
stopped:
#endif
#endif
  skip
}

#if FORCED
/* `life_cycle::remove` with force. */
active proctype Remover() {
  byte flags;
  lose_name()
}
#endif

/* When nothing moves any more. */
active proctype Rest() {
  bit misses_name, misses_line;
  timeout ->
  d_step {
    do
    :: at < READERS ->
       if :: asleep[at] && !is_named -> misses_name = 1 :: else fi;
       if :: asleep[at] && latest > held[at] -> misses_line = 1 :: else fi;
       at++
    :: else -> break
    od;
#if POLLERS
    do
    :: at < WAITING ->
       if :: polls[at] && !is_named -> misses_name = 1 :: else fi;
       if :: polls[at] && latest > held[at] -> misses_line = 1 :: else fi;
       at++
    :: else -> break
    od;
#endif
    at = 0
  };
  assert(!misses_name);
  assert(!misses_line)
}
