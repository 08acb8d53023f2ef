/* The wait page of one file, and its two futures: `src/protocol/eventcount.rs`, `src/os/futex.rs`, the doorbell. Part of
   wait.c and leave.c. A reader that sleeps or polls for ever shows as a loop that does not end (`genmc
   -check-liveness`). No time slice: it would hide every lost wake-up.

   FAN_OUT   how many sleepers a wake wakes; 1
   QUEUE     FIFO: first come, first woken. LIFO: the other way round; between them any order that the kernel may choose
   TAKE      SWAP: as the code. SWAP_RELAXED. STORE: a plain store of 0
   STEP      FETCH_ADD: as the code. STORE: the epoch is moved by a load and a store
   RELAY     OLDER: as the code. NEW_LINE: only by one that found a new line. ANYBODY: by all, to all. NONE */
#ifndef FAN_OUT
#define FAN_OUT 1
#endif
enum { FIFO, LIFO, SWAP, SWAP_RELAXED, STORE, FETCH_ADD, OLDER, NEW_LINE, NONE };
#ifndef QUEUE
#define QUEUE FIFO
#endif
#ifndef TAKE
#define TAKE SWAP
#endif
#ifndef STEP
#define STEP FETCH_ADD
#endif
#ifndef RELAY
#define RELAY OLDER
#endif

enum { FUTEX = 1, BELL = 2 };
enum { MOVED, WOKEN, OVER };
/* For `futex_wake`: spare nobody. */
#define ANYBODY -1

struct eventcount {
  word waiters, epoch;
  /* The kernel's bucket. A sleeper's bit is its key: epochs do not come to 32 here. */
  pthread_mutex_t lock;
  int count, sleeper[4], key[4];
  word woken[4];
  /* The event of each poller: rung, and not consumed yet. */
  word event[2];
};

/* Readers that have not got all yet. When there are none the slice of all who sleep is over: to sleep for want of
   anything new is no fault. */
word unserved;

static void futex_wake(struct eventcount *e, int spared) {
  pthread_mutex_lock(&e->lock);
  for (int woken = 0; woken < FAN_OUT; woken++) {
    int found = -1;
    for (int i = 0; i < e->count; i++)
      if (e->key[i] != spared && (found == -1 || QUEUE == LIFO)) found = i;
    if (found == -1) break;
    store(e->woken[e->sleeper[found]], 1, RELEASE);
    e->count--;
    for (int i = found; i < e->count; i++) {
      e->sleeper[i] = e->sleeper[i + 1];
      e->key[i] = e->key[i + 1];
    }
  }
  pthread_mutex_unlock(&e->lock);
}

/* The kernel compares under the lock that a wake takes too. */
static int futex_wait(struct eventcount *e, int reader, int key) {
  store(e->woken[reader], 0, RELAXED);
  pthread_mutex_lock(&e->lock);
  if (load(e->epoch, RELAXED) != key) {
    pthread_mutex_unlock(&e->lock);
    return MOVED;
  }
  e->sleeper[e->count] = reader;
  e->key[e->count++] = key;
  pthread_mutex_unlock(&e->lock);
  for (;;) {
    if (load(e->woken[reader], ACQUIRE)) return WOKEN;
    if (!load(unserved, RELAXED)) return OVER;
  }
}

/* `Bell::ring`: its own steps are in bell.pml. The kernel's lock orders one ring after the other, and before the poller
   that consumes what they made: hence the exchanges. */
static void ring(struct eventcount *e) {
  for (int i = 0; i < 2; i++) atomic_exchange_explicit(&e->event[i], 1, memory_order_acq_rel);
}

/* poll(2). The last store tells the checker that a caller's loop around this is no idle one. */
static void poll_event(struct eventcount *e, int reader) {
  while (!load(e->event[reader], ACQUIRE)) {}
  store(e->woken[reader], 1, RELAXED);
}

/* epoll_wait(2) with a time-out of 0. */
static void consume(struct eventcount *e, int reader) {
  atomic_exchange_explicit(&e->event[reader], 0, memory_order_acq_rel);
}

static int prepare_wait(struct eventcount *e) {
  int key = load(e->epoch, RELAXED);
  fence(KEY, ACQUIRE);
  return key;
}

static void arm(struct eventcount *e, int flag) {
  atomic_fetch_or_explicit(&e->waiters, flag, unless_weak(ARM, SEQCST));
  fence(ARMED, SEQCST);
}

static int wait(struct eventcount *e, int reader, int key) {
  int how = futex_wait(e, reader, key);
  if (how == WOKEN && RELAY == OLDER) futex_wake(e, load(e->epoch, RELAXED));
  return how;
}

static bool has_waiters(struct eventcount *e) {
  return load(e->waiters, WEAK == WAITERS_BY_ACQUIRE ? ACQUIRE : unless_weak(WAITERS, SEQCST)) != 0;
}

/* The steps of `notify` after which its caller may die: the flags taken, the epoch moved, sleepers woken, the bell
   rung. */
#define NOTIFY_STEPS 4

static void notify_partly(struct eventcount *e, bool always, bool always_ring, int steps) {
  int flags = 0;
  if (steps >= 1) {
    if (TAKE == STORE) {
      flags = load(e->waiters, SEQCST);
      store(e->waiters, 0, SEQCST);
    } else {
      flags = atomic_exchange_explicit(&e->waiters, 0, TAKE == SWAP ? SEQCST : RELAXED);
    }
  }
  if (always || flags & FUTEX) {
    if (steps >= 2) {
      if (STEP == STORE)
        store(e->epoch, load(e->epoch, RELAXED) + 1, SEQCST);
      else
        atomic_fetch_add_explicit(&e->epoch, 1, unless_weak(BUMP, RELEASE));
    }
    if (steps >= 3) futex_wake(e, ANYBODY);
  }
  if (steps >= 4 && (always_ring || flags & BELL)) ring(e);
}

/* `notify`, and the ring that it asks for. */
static void notify(struct eventcount *e, bool always) { notify_partly(e, always, false, NOTIFY_STEPS); }

/* `wake_all`, `remove_name`: `notify_all`, and a ring in any case. */
static void wake_all(struct eventcount *e) { notify_partly(e, true, true, NOTIFY_STEPS); }
