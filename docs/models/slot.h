/* The slot, step by step `src/protocol/seqlock.rs`, in C11 for GenMC: functions bear that file's names, orders are its
   orders. Part of all models in C. A line is two words of content (`time`, `payload`); its length would be a third.

   BANKS     how many; 2
   BASE      messages 1 to BASE were published long ago; as many as there are banks
   WEAK      the one operation that is weakened, by its label: MARK, PUBLISH, LATEST, SAW_LATEST, SAW_SEQUENCE,
             VALIDATE, WAITERS, ARM, ARMED, BUMP, KEY, GONE, CALLED_OFF. A fence is left out, an access becomes Relaxed,
             as in the loom tests (`src/protocol/sync.rs`). Or by another that looks as good:
             MARK_BY_STORE: a Release store of the odd sequence in place of the fence. MARK_BY_SEQCST: a SeqCst one
             VALIDATE_BY_LOAD: an Acquire load in place of the fence before the second look
             LATEST_BY_RELEASE, WAITERS_BY_ACQUIRE: in place of SeqCst
   LOOK      AHEAD: as the code. LATEST_OR_HELD: no look at the next bank. LATEST_ALONE: nor at what is held
   RECOVERY  BANKS_TOO: as the code. LATEST_ALONE: by `latest`. EVEN_ALONE: by the greatest even sequence */
#include <assert.h>
#include <genmc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#ifndef BANKS
#define BANKS 2
#endif
#ifndef BASE
#define BASE BANKS
#endif

enum {
  NOTHING,
  MARK, PUBLISH, LATEST, SAW_LATEST, SAW_SEQUENCE, VALIDATE, WAITERS, ARM, ARMED, BUMP, KEY, GONE, CALLED_OFF,
  MARK_BY_STORE, MARK_BY_SEQCST, VALIDATE_BY_LOAD, LATEST_BY_RELEASE, WAITERS_BY_ACQUIRE,
};
#ifndef WEAK
#define WEAK NOTHING
#endif

enum { AHEAD, LATEST_OR_HELD, LATEST_ALONE, BANKS_TOO, EVEN_ALONE };
#ifndef LOOK
#define LOOK AHEAD
#endif
#ifndef RECOVERY
#define RECOVERY BANKS_TOO
#endif

#define RELAXED memory_order_relaxed
#define ACQUIRE memory_order_acquire
#define RELEASE memory_order_release
#define SEQCST memory_order_seq_cst
#define load(word, order) atomic_load_explicit(&(word), order)
#define store(word, value, order) atomic_store_explicit(&(word), value, order)
#define unless_weak(site, order) (WEAK == (site) ? RELAXED : (order))
#define fence(site, order) do { if (WEAK != (site)) atomic_thread_fence(order); } while (0)

typedef _Atomic int word;
struct bank { word sequence, time, payload; };
struct slot { word latest; struct bank banks[BANKS]; };

static inline struct bank *bank(struct slot *slot, int number) { return &slot->banks[number % BANKS]; }
static inline int sequence_of(int number) { return 2 * number; }

/* What is in a line: its number, and which writer wrote it. */
enum { FIRST = 1, SECOND = 2, THIRD = 3 };
static inline int content(int number, int writer) { return 10 * number + writer; }
static inline int number_of(int content) { return content / 10; }

static void publish_long_ago(struct slot *slot, int newest) {
  for (int n = newest < BANKS ? 1 : newest - BANKS + 1; n <= newest; n++) {
    store(bank(slot, n)->sequence, sequence_of(n), RELAXED);
    store(bank(slot, n)->time, content(n, FIRST), RELAXED);
    store(bank(slot, n)->payload, content(n, FIRST), RELAXED);
  }
  store(slot->latest, newest, RELAXED);
}

/* ---- The writer. ---- */

static inline void begin_write(struct bank *bank, int number) {
  store(bank->sequence, sequence_of(number) - 1,
        WEAK == MARK_BY_STORE ? RELEASE : WEAK == MARK_BY_SEQCST ? SEQCST : RELAXED);
  if (WEAK != MARK_BY_STORE && WEAK != MARK_BY_SEQCST)
    fence(MARK, RELEASE);
}

static inline void end_write(struct bank *bank, int number) {
  store(bank->sequence, sequence_of(number), unless_weak(PUBLISH, RELEASE));
}

static inline void announce(struct slot *slot, int number) {
  store(slot->latest, number, WEAK == LATEST_BY_RELEASE ? RELEASE : unless_weak(LATEST, SEQCST));
}

/* A publish has so many steps; the writer can stop after each. */
#define STEPS 5

static void publish_partly(struct slot *slot, int number, int writer, int steps) {
  struct bank *b = bank(slot, number);
  if (steps >= 1) begin_write(b, number);
  if (steps >= 2) store(b->time, content(number, writer), RELAXED);
  if (steps >= 3) store(b->payload, content(number, writer), RELAXED);
  if (steps >= 4) end_write(b, number);
  if (steps >= 5) announce(slot, number);
}

static void publish(struct slot *slot, int number, int writer) { publish_partly(slot, number, writer, STEPS); }

/* `recover`. Whoever calls it has the lock, whose release by the kernel comes after the last store of the dead. */
static int recover(struct slot *slot) {
  int announced = load(slot->latest, RELAXED), latest = announced;
  bool damaged = load(bank(slot, announced)->sequence, RELAXED) < sequence_of(announced);
  for (int index = 0; index < BANKS; index++) {
    int sequence = load(slot->banks[index].sequence, RELAXED), number = (sequence + 1) / 2;
    if (sequence != 0 && (number % BANKS != index || number > announced + 1)) damaged = true;
    if (sequence / 2 > latest) latest = sequence / 2;
  }
  assert(!damaged);
  if (RECOVERY == LATEST_ALONE) latest = announced;
  if (RECOVERY == EVEN_ALONE) {
    latest = 0;
    for (int index = 0; index < BANKS; index++) {
      int sequence = load(slot->banks[index].sequence, RELAXED);
      if (sequence % 2 == 0 && sequence / 2 > latest) latest = sequence / 2;
    }
  }
  return latest; /* The caller announces it: a step of its own, at which it may die too. */
}

/* ---- A reader. ---- */

enum { LAPPED = -1, BEHIND = -2 };

static inline int announced(struct slot *slot) { return load(slot->latest, RELAXED); }

static inline bool has_newer(struct slot *slot, int held) {
  return load(bank(slot, held + 1)->sequence, RELAXED) >= sequence_of(held + 1);
}

/* `None` is BEHIND. */
static inline int has_announced(struct slot *slot, int held) {
  if (announced(slot) <= held) return false;
  fence(SAW_LATEST, ACQUIRE);
  return has_newer(slot, held) ? true : BEHIND;
}

/* A number, or LAPPED. */
static int look_ahead(struct slot *slot, int known) {
  for (int newest = known;; newest++) {
    int sequence = load(bank(slot, newest + 1)->sequence, RELAXED);
    if (sequence < sequence_of(newest + 1)) return newest;
    if (sequence > sequence_of(newest + 1)) return LAPPED;
  }
}

static int look(struct slot *slot, int held) {
  if (LOOK == AHEAD) {
    int newest = look_ahead(slot, held);
    if (newest != LAPPED) return newest;
  }
  int latest = load(slot->latest, RELAXED);
  fence(SAW_LATEST, ACQUIRE);
  if (LOOK == LATEST_ALONE) return latest;
  if (latest < held) latest = held;
  return LOOK == AHEAD ? look_ahead(slot, latest) : latest;
}

/* The content of message `number`, or LAPPED. Here stands what every read must satisfy. */
static int read_attempt(struct slot *slot, int number) {
  struct bank *b = bank(slot, number);
  int sequence = load(b->sequence, RELAXED);
  fence(SAW_SEQUENCE, ACQUIRE);
  bool behind = sequence < sequence_of(number);
  assert(!behind);
  if (sequence != sequence_of(number)) return LAPPED;
  int time = load(b->time, RELAXED), payload = load(b->payload, RELAXED);
  if (WEAK != VALIDATE_BY_LOAD)
    fence(VALIDATE, ACQUIRE);
  if (load(b->sequence, WEAK == VALIDATE_BY_LOAD ? ACQUIRE : RELAXED) != sequence_of(number)) return LAPPED;
  bool torn_read = time != payload || number_of(payload) != number;
  assert(!torn_read);
  return payload;
}

/* One look and one attempt at the newest line, also if it is held (`again`): its content, 0 if there is none, or
   LAPPED. */
static int attempt_newest(struct slot *slot, int held) {
  int number = look(slot, held);
  return number == LAPPED || number == 0 ? number : read_attempt(slot, number);
}

/* `newest`: where a reader starts that wants no line from before. */
static int newest(struct slot *slot) {
  int found = look(slot, 0);
  if (found == LAPPED) found = announced(slot);
  fence(SAW_LATEST, ACQUIRE);
  bool behind = load(bank(slot, found)->sequence, RELAXED) < sequence_of(found);
  assert(!behind);
  return found;
}
