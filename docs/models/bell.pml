/* The doorbell: a FIFO that one writer rings and READERS readers watch (`src/os/fifo.rs`, `src/os/poll.rs`,
   `Reader::arm_doorbell`).

   One writer publishes MESSAGES lines. Each reader polls its descriptor, calls `try_read`, and polls again. Wanted:
   when nothing moves any more, nobody polls in vain while there is a line that it has not read; and things come to rest
   (no cycle). No time slice, although the code's descriptor has one: it would hide every fault. All in one order, as in
   tree.pml.

   A reader's descriptor is an epoll instance of its own over the FIFO, edge-triggered, and a timer:
     event[r]   the FIFO is in the instance's ready list. A write puts it there; whoever looks finds the FIFO readable
                or takes it off the list (epoll(7); fs/eventpoll.c)
     timer[r]   the timer has run out: once, when the descriptor is made, so that it is ready from the start
     edge[r]    who polls has its own epoll instance around it, edge-triggered (with POLL=EDGE)

   READERS, MESSAGES   how many
   POLL      LEVEL: poll, select, epoll as usual. EDGE: the caller watches the descriptor edge-triggered
   CALLER    UNTIL_NOTHING: after an event, `try_read` until it says nothing, as documented. ONCE: a single `try_read`
             (allowed with LEVEL)
   KERNEL    EVERY_WRITE: a write wakes those who watch. WHEN_EMPTY: only one into an empty FIFO (Linux 5.5 to 5.13)
   STOPPED   1: the writer may stop for ever between the two system calls of a ring
   RINGERS   2: `rm --force` rings beside the writer

   Weakened, each must fail:
   RING      WRITE_FIRST: one byte in, then out what was there before, and one in again if that emptied it; as the code.
             DRAIN_FIRST: as the code where the kernel is WHEN_EMPTY, and a loss there if STOPPED. NO_REFILL: two who
             ring at once may empty it
   ARM       CONSUME_ARM_LOOK: as the code. CONSUME_LOOK_ARM, ARM_LOOK_CONSUME: other orders
   CONSUMES  NOTHING: only a `try_read` that says nothing consumes the event; as the code. EVERY: each does, at first
   READY     1: the descriptor is ready when made; as the code. 0 */

#ifndef READERS
#define READERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif

#define LEVEL 1
#define EDGE  2
#ifndef POLL
#define POLL LEVEL
#endif

#define UNTIL_NOTHING 1
#define ONCE          2
#ifndef CALLER
#define CALLER UNTIL_NOTHING
#endif

#define EVERY_WRITE 1
#define WHEN_EMPTY  2
#ifndef KERNEL
#define KERNEL EVERY_WRITE
#endif

#ifndef STOPPED
#define STOPPED 0
#endif
#ifndef RINGERS
#define RINGERS 1
#endif

#define WRITE_FIRST 1
#define DRAIN_FIRST 2
#define NO_REFILL   3
#ifndef RING
#define RING WRITE_FIRST
#endif

#define CONSUME_ARM_LOOK 1
#define CONSUME_LOOK_ARM 2
#define ARM_LOOK_CONSUME 3
#ifndef ARM
#define ARM CONSUME_ARM_LOOK
#endif

#define NOTHING 1
#define EVERY   2
#ifndef CONSUMES
#define CONSUMES NOTHING
#endif

#ifndef READY
#define READY 1
#endif

byte latest;            /* and the sequence of its bank: that there is a moment between the two is for tree.pml */
bit bell;               /* the flag BELL in `waiters` */
byte fifo;              /* bytes in the FIFO */
bit event[READERS];
bit timer[READERS];
#if POLL == EDGE
bit edge[READERS];
#endif
bit watches[READERS];   /* the instance watches the FIFO */
bit polls[READERS];     /* the reader's caller waits for its descriptor */
byte held[READERS];     /* number of the message that was returned last */
byte at;                /* for the inlines; 0 between them */

/* What the caller's poll finds: `event` counts while the FIFO is readable. */
#define IS_READY(reader)  (timer[reader] || (event[reader] && fifo > 0))

/* One byte into the FIFO, and the event to all who watch it. */
inline write_byte() {
  d_step {
    do
    :: at < READERS && (KERNEL == EVERY_WRITE || fifo == 0) ->
       if
       :: watches[at] ->
          event[at] = 1;
#if POLL == EDGE
          edge[at] = 1
#endif
       :: else
       fi;
       at++
    :: else -> break
    od;
    at = 0; fifo++
  }
}

/* `Bell::drain`: asks how many bytes there are, takes the surplus, until there is none. Between the two is a moment. */
inline drain(keep) {
  do
  :: fifo > keep -> surplus = fifo - keep;                      /* `queued` */
     d_step { fifo = (fifo > surplus -> fifo - surplus : 0); surplus = 0 }      /* read(2) */
  :: else -> break
  od
}

#if STOPPED
#define MAY_STOP  if :: goto stopped :: skip fi;
#else
#define MAY_STOP
#endif

/* `Bell::ring`. `surplus` belongs to the ringer. */
inline ring() {
#if RING == DRAIN_FIRST
  drain(0);
  MAY_STOP
  write_byte()
#else
  write_byte();
  MAY_STOP
  drain(1);
#if RING != NO_REFILL
  if :: fifo == 0 -> write_byte() :: else fi
#else
  skip
#endif
#endif
}

/* `PollSet::consume`: epoll_wait(2), with room for all, takes the FIFO off the ready list; read(2) takes the timer's
   expiry. */
inline consume() { event[_pid] = 0; timer[_pid] = 0 }

active [READERS] proctype Reader() {
  /* Reader::doorbell: the descriptor, with the timer that runs out at once; then the FIFO. One that is readable when it
     comes into the instance is in the ready list at once. */
  atomic {
    timer[_pid] = READY;
    watches[_pid] = 1;
    event[_pid] = (fifo > 0);
#if POLL == EDGE
    edge[_pid] = READY || (fifo > 0)
#endif
  };

poll:
  polls[_pid] = 1;
end_poll:
  do
#if POLL == EDGE
  :: atomic { edge[_pid] && IS_READY(_pid) -> edge[_pid] = 0; break }
  :: atomic { edge[_pid] && !IS_READY(_pid) -> edge[_pid] = 0; event[_pid] = 0 }
#else
  :: IS_READY(_pid) -> break
  :: atomic { event[_pid] && !IS_READY(_pid) -> event[_pid] = 0 }
#endif
  od;
  polls[_pid] = 0;

try_read:
#if CONSUMES == EVERY
  consume();
#endif
  /* Reader::look: there is a line, which is returned; the event stays. */
  if
  :: atomic { latest > held[_pid] -> held[_pid] = latest }; goto returned
  :: else
  fi;
  /* Reader::arm_doorbell. */
#if ARM == CONSUME_ARM_LOOK
#if CONSUMES == NOTHING
  consume();
#endif
  bell = 1;                                             /* Eventcount::arm(BELL) */
  if
  :: latest <= held[_pid] -> goto poll                  /* `!has_announced`: nothing */
  :: else -> held[_pid] = latest; goto returned         /* `self.look(false)`: a line after all */
  fi;
#elif ARM == CONSUME_LOOK_ARM
  consume();
  if
  :: latest <= held[_pid]
  :: else -> held[_pid] = latest; goto returned
  fi;
  bell = 1;
  goto poll;
#else
  bell = 1;
  if
  :: latest <= held[_pid]
  :: else -> held[_pid] = latest; goto returned
  fi;
  consume();
  goto poll;
#endif

returned:
#if CALLER == ONCE
  goto poll
#else
  goto try_read
#endif
}

/* `Writer::publish_line`, MESSAGES times. */
active proctype Writer() {
  byte number, surplus;
  bit flag;
  do
  :: number < MESSAGES ->
     number++;
     latest = number;                                   /* seqlock::announce */
     if
     :: !bell                                           /* Eventcount::has_waiters */
     :: else ->
        atomic { flag = bell; bell = 0 };               /* Eventcount::notify: `waiters.swap(0)` */
        if
        :: flag -> flag = 0; ring()
        :: else
        fi
     fi
  :: else -> break
  od;
#if STOPPED
stopped:
#endif
  skip
}

#if RINGERS > 1
/* `life_cycle::remove` with force: takes the flags, and rings whatever they were. */
active proctype Remover() {
  byte surplus;
  bell = 0;
  ring();
#if STOPPED
stopped:
#endif
  skip
}
#endif

/* When nothing moves any more. */
active proctype Rest() {
  bit misses_line;
  timeout ->
  d_step {
    do
    :: at < READERS -> if :: polls[at] && latest > held[at] -> misses_line = 1 :: else fi; at++
    :: else -> break
    od;
    at = 0
  };
  assert(!misses_line)
}
