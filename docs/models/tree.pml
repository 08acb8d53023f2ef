/* Sleeping and waking: the eventcount and its tree of wakes (`src/protocol/eventcount.rs`).

   One writer publishes MESSAGES lines for READERS readers, each of which reads and sleeps for ever. Wanted: when
   nothing moves any more, nobody is asleep while there is a line that it has not read; and things do come to rest (no
   cycle). No time slice: it would hide every fault. Every step is a whole load, store or system call, and all see them
   in one order; what weaker memory does to them is for loom (`src/protocol/loom_tests.rs`).

   READERS, MESSAGES   how many
   INTERRUPTS          how often a sleeper may leave the queue by itself: a signal, or a deadline of its own
   POLLERS             1: somebody sets the doorbell's flag at any time, beside the sleepers'
   ALWAYS_WAKE         1: the writer was made with `always_wake`
   ARMING              0: the readers may not write the wait page and set no flag
   KILLED              1: the writer may be killed before any step; another recovers and goes on
   FAN_OUT, BITS, QUEUE   see futex.pml

   Weakened, each must fail:
   RELAY   OLDER: as the code, to sleepers of older epochs, always. NEW_LINE: to anybody, by those who found a new line.
           MOVED: to anybody, if the epoch moved since the key. ANYBODY: to anybody, always. NONE
   TAKE    SWAP: as the code. STORE: the flags are loaded, and then 0 is stored
   LOOK    AFTER_ARM: as the code. BEFORE_ARM
   KEY     BEFORE_LOOK: as the code. AFTER_LOOK
   WAKE    EPOCH: as the code. ALONE: sleepers are woken, and the epoch stays
   RECOVERY_WAKES   0: recovery does not wake */

#ifndef READERS
#define READERS 3
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 0
#endif
#ifndef POLLERS
#define POLLERS 0
#endif
#ifndef ALWAYS_WAKE
#define ALWAYS_WAKE 0
#endif
#ifndef ARMING
#define ARMING 1
#endif
#ifndef KILLED
#define KILLED 0
#endif
#ifndef RECOVERY_WAKES
#define RECOVERY_WAKES 1
#endif

#define OLDER     1
#define NEW_LINE  2
#define MOVED     3
#define ANYBODY   4
#define NONE      5
#ifndef RELAY
#define RELAY OLDER
#endif

#define SWAP  1
#define STORE 2
#ifndef TAKE
#define TAKE SWAP
#endif

#define AFTER_ARM  1
#define BEFORE_ARM 2
#ifndef LOOK
#define LOOK AFTER_ARM
#endif

#define BEFORE_LOOK 1
#define AFTER_LOOK  2
#ifndef KEY
#define KEY BEFORE_LOOK
#endif

#define EPOCH 1
#define ALONE 2
#ifndef WAKE
#define WAKE EPOCH
#endif

#include "futex.pml"

#define FUTEX 1
#define BELL  2

byte sequence;          /* the newest number that a bank shows; the banks themselves are not modelled */
byte latest;
byte waiters;           /* FUTEX, BELL */
byte held[READERS];     /* number of the message that a reader returned last */
byte interrupts;

/* `Reader::turn`, called again and again. */
active [READERS] proctype Reader() {
  byte now;

look:
  /* Reader::look: `has_newer` loads the sequence of the next bank, and `read_newest` goes on to the newest line.
     Spinning (`Spin::until`) is the same look. What a test found stays true, so test and read are one step. */
  if
  :: atomic { sequence > held[_pid] -> held[_pid] = sequence }; goto look     /* the line is returned; the next call */
  :: else
  fi;

  /* Reader::prepare_sleep. */
#if KEY == BEFORE_LOOK
  key[_pid] = epoch;                            /* Eventcount::prepare_wait */
#endif
#if LOOK == BEFORE_ARM
  if
  :: latest > held[_pid] -> key[_pid] = 0; goto look
  :: else
  fi;
#endif
#if ARMING
  waiters = waiters | FUTEX;                    /* Eventcount::arm: fetch_or */
#endif
#if LOOK == AFTER_ARM
  if
  :: latest > held[_pid] -> key[_pid] = 0; goto look     /* `has_announced`: do not sleep */
  :: else
  fi;
#endif
#if KEY == AFTER_LOOK
  key[_pid] = epoch;
#endif

  /* Eventcount::wait. */
  atomic {
    if
    :: epoch == key[_pid] -> enqueue(_pid)
    :: else -> key[_pid] = 0; goto look         /* Wait::Moved */
    fi
  };
end_asleep:
  if
  :: !asleep[_pid]                              /* Wait::Woken */
#if INTERRUPTS
  :: atomic { asleep[_pid] && interrupts < INTERRUPTS -> interrupts++; dequeue(_pid); key[_pid] = 0; goto look }
#endif
  fi;
#if RELAY == OLDER
  atomic { now = epoch; key[_pid] = 0 };        /* the load of `now`; */
  futex_wake(BIT(now));                         /* a step of its own: the wake, to all bits but its */
#elif RELAY == NEW_LINE
  key[_pid] = 0;
  if
  :: atomic { sequence > held[_pid] -> held[_pid] = sequence }; futex_wake(NOBODY)
  :: else
  fi;
#elif RELAY == MOVED
  if
  :: epoch != key[_pid] -> futex_wake(NOBODY)
  :: else
  fi;
  key[_pid] = 0;
#elif RELAY == ANYBODY
  key[_pid] = 0;
  futex_wake(NOBODY);
#else
  key[_pid] = 0;
#endif
  now = 0;
  goto look
}

/* Before a step of the writer: it may be killed here, once. */
#if KILLED
#define MAY_DIE  if :: !is_successor -> goto killed :: skip fi;
#else
#define MAY_DIE
#endif

/* Eventcount::notify. `flags` belongs to the writer. */
inline notify(always) {
#if TAKE == SWAP
  atomic { flags = waiters; waiters = 0 };      /* `waiters.swap(0)` */
#else
  flags = waiters;
  waiters = 0;
#endif
  if
  :: always || (flags & FUTEX) ->
     MAY_DIE
#if WAKE == EPOCH
     epoch++;                                   /* fetch_add */
     MAY_DIE
#endif
     futex_wake(NOBODY)
  :: else                                       /* BELL alone: see bell.pml */
  fi;
  flags = 0
}

/* `Writer::publish_line`, MESSAGES times. */
active proctype Writer() {
  byte number;
  byte flags;
#if KILLED
  bit is_successor;
#endif

  do
  :: number < MESSAGES ->
     number++;
     MAY_DIE
     sequence = number;                         /* seqlock::end_write */
     MAY_DIE
     latest = number;                           /* seqlock::announce */
     MAY_DIE
     if
     :: waiters == 0 && !ALWAYS_WAKE            /* Eventcount::has_waiters */
     :: else -> MAY_DIE notify(ALWAYS_WAKE)    /* Writer::after_publish */
     fi
  :: else -> break
  od;
  goto done;

#if KILLED
killed:
  /* The next writer, `life_cycle::take_over`. */
  is_successor = 1;
  number = sequence;                            /* seqlock::recover: the greatest number of any bank */
  latest = number;                              /* its `announce` */
#if RECOVERY_WAKES
  notify(1);                                    /* wake_all: Eventcount::notify_all */
#endif
  flags = 0;
  do
  :: number < MESSAGES ->
     number++;
     sequence = number;
     latest = number;
     if
     :: waiters == 0 && !ALWAYS_WAKE
     :: else -> notify(ALWAYS_WAKE)
     fi
  :: else -> break
  od;
#endif
done:
  skip
}

#if POLLERS
/* `Reader::arm_doorbell` of others, as far as it touches the words of this model: sets BELL at any time. */
active proctype Poller() {
  byte armed;
  do
  :: armed < MESSAGES -> armed++; waiters = waiters | BELL
  :: break
  od
}
#endif

/* When nothing moves any more. */
active proctype Rest() {
  bit misses_line;
  timeout ->
  d_step {
    at = 0;
    do
    :: at < READERS -> if :: asleep[at] && sequence > held[at] -> misses_line = 1 :: else fi; at++
    :: else -> break
    od;
    at = 0
  };
  assert(!misses_line)
}
