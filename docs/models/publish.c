/* One writer publishes, readers read: whole, fresh, in order (`src/protocol/seqlock.rs`).

   MESSAGES  how many the writer adds; 1
   HELD      number that the reader holds at first; 0
   READER    READS: reads, then looks. WAITS: takes the next line by its bank alone, as `turn` does, then reads.
             TELLS: the same, and tells another reader, which must find at least that. ASKS: `has_announced`, as one
             does that is about to sleep. STARTS: `newest`, as one does that wants no line from before
   READERS   how many READ; 1 */
#include "slot.h"

#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef HELD
#define HELD 0
#endif
#ifndef READERS
#define READERS 1
#endif
enum { READS, WAITS, TELLS, ASKS, STARTS };
#ifndef READER
#define READER READS
#endif

struct slot slot;
word returned; /* publish of this number has returned, and whoever loads it knows that */
word told;

static void *writer(void *_) {
  for (int n = BASE + 1; n <= BASE + MESSAGES; n++) {
    publish(&slot, n, FIRST);
    store(returned, n, RELEASE);
  }
  return 0;
}

/* Each is about one that found something: LAPPED says nothing. */
static void check(int known, int held, int found) {
  bool stale = found >= 0 && number_of(found) < known;
  bool went_back = found >= 0 && number_of(found) < held;
  assert(!stale);
  assert(!went_back);
}

static void *reader(void *_) {
  int known = load(returned, ACQUIRE), held = HELD;
  if (READER == READS) {
    int line = attempt_newest(&slot, held);
    check(known, held, line);
    if (line > 0) {
      int number = look(&slot, number_of(line));
      if (number != LAPPED) check(known, number_of(line), content(number, 0));
    }
  } else if (READER == WAITS || READER == TELLS) {
    bool newer = has_newer(&slot, held), stale = known > held && !newer;
    assert(!stale);
    if (newer) {
      int line = read_attempt(&slot, held + 1);
      if (line != LAPPED) held = number_of(line);
    }
    if (READER == WAITS)
      check(known, held, attempt_newest(&slot, held));
    else if (held > HELD)
      store(told, held, RELEASE);
  } else if (READER == ASKS) {
    bool behind = has_announced(&slot, held) == BEHIND;
    assert(!behind);
  } else {
    check(known, 0, attempt_newest(&slot, newest(&slot)));
  }
  return 0;
}

/* Told of a line by another reader. */
static void *other(void *_) {
  int known = load(told, ACQUIRE);
  if (known) check(known, 0, attempt_newest(&slot, 0));
  return 0;
}

int main(void) {
  pthread_t thread;
  publish_long_ago(&slot, BASE);
  store(returned, BASE, RELAXED);
  pthread_create(&thread, 0, writer, 0);
  for (int i = 0; i < READERS; i++) pthread_create(&thread, 0, reader, 0);
  if (READER == TELLS) pthread_create(&thread, 0, other, 0);
  return 0;
}
