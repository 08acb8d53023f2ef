/* No wake-up is lost: sleepers and pollers of one file, its writer, and others who wake (`src/protocol/eventcount.rs`;
   `turn`, `prepare_sleep` and `arm_doorbell` in `src/follower.rs`; `publish_line` in `src/writer.rs`; `take_over` in
   `src/life_cycle.rs`). The banks' content has no part in it.

   MESSAGES  how many the writer publishes; 1
   SLEEPERS, POLLERS   readers that wait for the last of them; 1, 0
   AFRESH    so many of the sleepers look once at first, and having all, sleep once more: they can take a wake from
             another
   ALWAYS    1: the writer has set `always_wake`, and readers set no flag
   ARMING    0: readers set no flag
   KILLED    the writer stops so many steps after the publication of the last line (`latest`, a look at the flags, then
             those of `notify`); another recovers
   HEIR      WAKES: as the code. SILENT: recovers, and wakes nobody. KEEPS_EPOCH: wakes, and does not move the epoch
   FORCED    1: `rm --force` moves the epoch and wakes, beside the writer
   ORDER     LOOK_FIRST: the reader looks before it sets the flag. KEY_LAST: takes the key after the look.
             CONSUMED_LAST: a poller consumes its event after the look. IN_ORDER: as the code */
#include "slot.h"
#include "eventcount.h"

#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef SLEEPERS
#define SLEEPERS 1
#endif
#ifndef POLLERS
#define POLLERS 0
#endif
#ifndef AFRESH
#define AFRESH 0
#endif
#ifndef ALWAYS
#define ALWAYS 0
#endif
#ifndef ARMING
#define ARMING !ALWAYS
#endif
#define ALIVE 99
#ifndef KILLED
#define KILLED ALIVE
#endif
#ifndef FORCED
#define FORCED 0
#endif
enum { WAKES, SILENT, KEEPS_EPOCH, IN_ORDER, LOOK_FIRST, KEY_LAST, CONSUMED_LAST };
#ifndef HEIR
#define HEIR WAKES
#endif
#ifndef ORDER
#define ORDER IN_ORDER
#endif

struct slot slot;
struct eventcount page;
word lock;

/* Steps 3 to 5 of a publish. */
static void publish_and_wake(int number, int steps) {
  end_write(bank(&slot, number), number);
  if (steps >= 1) announce(&slot, number);
  if (steps >= 2 && (has_waiters(&page) || ALWAYS)) notify_partly(&page, ALWAYS, false, steps - 2);
}

static void *writer(void *_) {
  for (int n = 1; n <= MESSAGES; n++) publish_and_wake(n, n == MESSAGES ? KILLED : ALIVE);
  store(lock, 1, RELEASE);
  return 0;
}

static void *heir(void *_) {
  __VERIFIER_assume(load(lock, ACQUIRE) == 1);
  announce(&slot, recover(&slot));
  if (HEIR == WAKES) {
    wake_all(&page);
  } else if (HEIR == KEEPS_EPOCH) {
    futex_wake(&page, ANYBODY);
    ring(&page);
  }
  return 0;
}

static void *remover(void *_) { wake_all(&page); return 0; }

/* The newest number. */
static int look_for(int held) {
  int number = look(&slot, held);
  bool went_back = number < held;
  assert(!went_back);
  return number;
}

/* `has_announced`: whether not to sleep. */
static bool is_there(int held) {
  int there = has_announced(&slot, held);
  bool behind = there == BEHIND;
  assert(!behind);
  return there;
}

static void sleeper(int me, bool afresh) {
  int held = afresh ? look_for(0) : 0;
  bool served = false;
  for (;;) {
    if (held == MESSAGES) {
      if (!served) atomic_fetch_sub_explicit(&unserved, 1, RELAXED);
      served = true;
      if (!afresh) return;
      afresh = false;
    }
    int key = 0, newer = false;
    if (ORDER != KEY_LAST) key = prepare_wait(&page);
    if (ORDER == LOOK_FIRST) newer = is_there(held);
    if (ARMING) arm(&page, FUTEX);
    if (ORDER != LOOK_FIRST) newer = is_there(held);
    if (ORDER == KEY_LAST) key = prepare_wait(&page);
    if (!newer) {
      int how = wait(&page, me, key);
      if (how == OVER) return;
      if (how == WOKEN && RELAY == ANYBODY) futex_wake(&page, ANYBODY);
      if (how == WOKEN && RELAY == NEW_LINE && look_for(held) > held) futex_wake(&page, ANYBODY);
    }
    held = look_for(held);
  }
}

static void *sleeps(void *me) { sleeper((int)(long)me, false); return 0; }
static void *sleeps_afresh(void *me) { sleeper((int)(long)me, true); return 0; }

static void *poller(void *_me) {
  int me = (int)(long)_me, held = 0;
  for (;;) {
    held = look_for(held); /* `try_read`, until it says nothing */
    if (held == MESSAGES) break;
    if (ORDER != CONSUMED_LAST) consume(&page, me);
    arm(&page, BELL);
    bool newer = is_there(held);
    if (ORDER == CONSUMED_LAST) consume(&page, me);
    if (newer) continue;
    poll_event(&page, me);
  }
  atomic_fetch_sub_explicit(&unserved, 1, RELAXED);
  return 0;
}

int main(void) {
  pthread_t thread;
  store(unserved, SLEEPERS + POLLERS, RELAXED);
  pthread_mutex_init(&page.lock, 0);
  pthread_create(&thread, 0, writer, 0);
  if (KILLED != ALIVE) pthread_create(&thread, 0, heir, 0);
  if (FORCED) pthread_create(&thread, 0, remover, 0);
  for (long i = 0; i < SLEEPERS; i++) pthread_create(&thread, 0, i < AFRESH ? sleeps_afresh : sleeps, (void *)i);
  for (long i = SLEEPERS; i < SLEEPERS + POLLERS; i++) pthread_create(&thread, 0, poller, (void *)i);
  return 0;
}
