/* A writer stops after any of its steps, the lock passes to another, which recovers (`seqlock::recover`) and publishes,
   while readers read: nothing that anybody has seen is lost, and no number is used for two lines.

   KILLED    after how many steps of two publishes; 0
   KILLED_TOO   after how many the second writer stops too, of `recover` (one: the store of `latest`) and a publish;
             then a third comes. -1: it does not stop
   READERS   2: one tells the other what it has. 1: it has the first alone */
#include "slot.h"

#ifndef KILLED
#define KILLED 0
#endif
#ifndef KILLED_TOO
#define KILLED_TOO -1
#endif
#ifndef READERS
#define READERS 1
#endif

struct slot slot;
word lock; /* how often the kernel has released it */
word told;
int seen[4];

static void *first(void *_) {
  for (int n = BASE + 1, left = KILLED; n <= BASE + 2 && left > 0; n++, left -= STEPS)
    publish_partly(&slot, n, FIRST, left);
  store(lock, 1, RELEASE);
  return 0;
}

static void succeed(int locks, int writer, int steps) {
  __VERIFIER_assume(load(lock, ACQUIRE) == locks);
  int number = recover(&slot);
  bool lost = number < BASE;
  assert(!lost);
  if (steps >= 1) announce(&slot, number);
  if (steps >= 2) publish_partly(&slot, number + 1, writer, steps - 1);
  store(lock, locks + 1, RELEASE);
}

static void *second(void *_) { succeed(1, SECOND, KILLED_TOO == -1 ? 1 + STEPS : KILLED_TOO); return 0; }
static void *third(void *_) { succeed(2, THIRD, 1 + STEPS); return 0; }

/* By the bank alone; then the newest. */
static void *reader(void *_) {
  if (has_newer(&slot, BASE)) {
    int line = read_attempt(&slot, BASE + 1);
    if (line != LAPPED) {
      seen[0] = line;
      store(told, number_of(line), RELEASE);
    }
  }
  int line = attempt_newest(&slot, number_of(seen[0]));
  seen[1] = line == LAPPED ? 0 : line;
  bool went_back = seen[1] && number_of(seen[1]) < number_of(seen[0]);
  assert(!went_back);
  return 0;
}

static void *other(void *_) {
  int known = load(told, ACQUIRE), line = attempt_newest(&slot, 0);
  seen[2] = line == LAPPED ? 0 : line;
  bool stale = seen[2] && number_of(seen[2]) < known;
  assert(!stale);
  return 0;
}

int main(void) {
  pthread_t threads[5];
  int count = 0;
  publish_long_ago(&slot, BASE);
  pthread_create(&threads[count++], 0, first, 0);
  pthread_create(&threads[count++], 0, second, 0);
  if (KILLED_TOO != -1) pthread_create(&threads[count++], 0, third, 0);
  pthread_create(&threads[count++], 0, reader, 0);
  if (READERS == 2) pthread_create(&threads[count++], 0, other, 0);
  for (int i = 0; i < count; i++) pthread_join(threads[i], 0);
  /* One that comes late, when all is quiet. */
  seen[3] = attempt_newest(&slot, 0);
  for (int i = 0; i < 4; i++) {
    bool lost = number_of(seen[i]) > number_of(seen[3]);
    assert(!lost);
    for (int j = 0; j < i; j++) {
      bool two_lines = seen[i] && seen[j] && number_of(seen[i]) == number_of(seen[j]) && seen[i] != seen[j];
      assert(!two_lines);
    }
  }
  return 0;
}
