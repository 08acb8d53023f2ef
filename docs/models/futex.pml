/* The kernel's queue of sleepers on the futex word `epoch`, as `src/os/futex.rs` uses it. Included by tree.pml and
   leaving.pml.

   A wait (`Shared::wait`, FUTEX_WAIT_BITSET) compares the word with the key and joins the queue under one lock, the
   same that a wake (`Shared::wake`, FUTEX_WAKE_BITSET) takes: so each of the two is one step. A wake takes sleepers
   whose bit it names; which of them is the kernel's affair, which sorts by priority, then by arrival.

   READERS   how many there are; reader i sleeps under its process number, so readers are the first processes of a model
   FAN_OUT   how many sleepers one wake wakes (`eventcount::FAN_OUT`)
   BITS      how many bits there are to tell epochs apart (32 in the code; fewer show what happens when they run out)
   QUEUE     ANY: a wake takes any sleepers, in whatever order; FIFO: those who came first */

#define ANY  1
#define FIFO 2

#ifndef FAN_OUT
#define FAN_OUT 2
#endif
#ifndef BITS
#define BITS 32
#endif
#ifndef QUEUE
#define QUEUE ANY
#endif

byte epoch;             /* the futex word */
byte key[READERS];      /* a reader's copy of it; 0 when it has none, so that equal states look equal */
bit asleep[READERS];    /* in the queue, with the bit `key mod BITS` */
#if QUEUE == FIFO
byte place[READERS];    /* 1 for the sleeper that came first, 0 outside the queue */
#endif

#define BIT(epoch)  ((epoch) % BITS)
#define NOBODY      BITS                                        /* no bit: spares nobody */
#define WAKES(reader, spared)  (asleep[reader] && BIT(key[reader]) != spared)

byte at, left, need;    /* for the inlines below; 0 between them */

/* Joins the queue. To be called where `epoch == key[reader]` was tested, in the same step. */
inline enqueue(reader) {
  asleep[reader] = 1;
#if QUEUE == FIFO
  d_step {
    place[reader] = 1; at = 0;
    do
    :: at < READERS -> if :: asleep[at] && at != reader -> place[reader]++ :: else fi; at++
    :: else -> break
    od;
    at = 0
  }
#endif
}

inline dequeue(reader) {
  asleep[reader] = 0;
#if QUEUE == FIFO
  d_step {
    at = 0;
    do
    :: at < READERS -> if :: place[at] > place[reader] -> place[at]-- :: else fi; at++
    :: else -> break
    od;
    at = 0; place[reader] = 0
  }
#endif
}

/* Wakes FAN_OUT of the sleepers whose bit is not `spared`, or all of them if they are fewer. */
inline futex_wake(spared) {
  atomic {
    at = 0;
    do
    :: at < READERS -> if :: WAKES(at, spared) -> left++ :: else fi; at++
    :: else -> break
    od;
    need = (left < FAN_OUT -> left : FAN_OUT);
    at = 0;
#if QUEUE == ANY
    do
    :: need > 0 ->
       if
       :: WAKES(at, spared) ->
          if
          :: asleep[at] = 0; need--     /* this one */
          :: left > need                /* or not, while enough others are left */
          fi;
          left--
       :: else
       fi;
       at++
    :: else -> break
    od;
#else
    do
    :: need > 0 ->                      /* `left` is used for the place that is looked for */
       left = 1;
       do
       :: WAKES(at, spared) && place[at] == left -> break
       :: else -> at++; if :: at == READERS -> at = 0; left++ :: else fi
       od;
       left = at; dequeue(left); at = 0; need--
    :: else -> break
    od;
#endif
    at = 0; left = 0
  }
}
