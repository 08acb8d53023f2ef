/* A file that loses its name, and the next one under it: growth, removal, a swept mailbox put back (`src/life_cycle.rs`:
   `install`, `succeed`, `remove_name`, `call_off_leaving`, `keep`, `Content::put`; `src/follower.rs`: `look`, `leave`,
   `attach`, `prepare_sleep`, `arm_doorbell`). Wanted: nobody waits on a file without a name, or beside a line; a read that
   begins after a line was published in the next file does not end in the old one; no reader goes back.

   HOW       GROWTH: the writer carries its last line on, and publishes the next one in the larger file. REMOVAL: nobody
             writes. KEPT: swept by strangers; the writer puts it back, and publishes there. KILLED: who set `leaving`
             was killed before the name was gone; the next writer calls it off, and publishes in the same file. FORCED:
             `rm --force` beside a writer that publishes. CALLED_BACK: beside a writer that takes `leaving` for that of
             one who was killed, and calls it off
   SLEEPERS, POLLERS   1, 0
   HELD      number that readers hold at first; 1
   READ_ONLY 1: readers set no flag; the writer always wakes
   ORDER     IN_ORDER: as the code. EPOCH_FIRST: the epoch moves before the name goes. LEAVING_LAST: `leaving` is set
             after the epoch has moved. LINE_FIRST: the next line is published before `leaving` is set for good
   SET       TWICE: as the code. ONCE: `leaving` is not set again when the name is gone
   LOOKS     AGAIN: as the code. NEVER_AGAIN: who calls off does not look at the name afterwards
   ASKED     EPOCH_BEFORE: as the code. EPOCH_AFTER: a reader notes the epoch after it has asked for the name
   FORGETS   1: a reader does not look at `leaving` again before it sleeps
   CARRIED   ALL_BANKS: as the code. LAST_ALONE: the banks before the carried line stay empty

   The kernel: a file's link count is a plain word to fstat(2), which takes no lock, so here it is Relaxed: of the system
   calls' own order nothing is used. It goes before the name does (rename(2) drops the old file's links, then moves the
   entry). Looking the name up is an Acquire, as it must be to find a file at all. */
#include "slot.h"
#include "eventcount.h"

#define GROWTH 1
#define REMOVAL 2
#define KEPT 3
#define KILLED 4
#define FORCED 5
#define CALLED_BACK 6
#ifndef HOW
#define HOW GROWTH
#endif
#ifndef SLEEPERS
#define SLEEPERS 1
#endif
#ifndef POLLERS
#define POLLERS 0
#endif
#ifndef HELD
#define HELD 1
#endif
#ifndef READ_ONLY
#define READ_ONLY 0
#endif
enum { IN_ORDER, EPOCH_FIRST, LEAVING_LAST, LINE_FIRST, TWICE, ONCE, AGAIN, NEVER_AGAIN, EPOCH_BEFORE, EPOCH_AFTER,
       ALL_BANKS, LAST_ALONE };
#ifndef ORDER
#define ORDER IN_ORDER
#endif
#ifndef SET
#define SET TWICE
#endif
#ifndef LOOKS
#define LOOKS AGAIN
#endif
#ifndef ASKED
#define ASKED EPOCH_BEFORE
#endif
#ifndef FORGETS
#define FORGETS 0
#endif
#ifndef CARRIED
#define CARRIED ALL_BANKS
#endif

struct file { struct slot slot; word leaving, links; struct eventcount page; } files[2];
word name;      /* index of the file that bears it, or NOBODY */
#define NOBODY -1
word returned;  /* the last line's publish, and whoever loads it knows that */
#define CARRIED_LINE 2
#define LAST_LINE 3

static void set_leaving(struct file *f) { store(f->leaving, 1, RELAXED); }

/* The name is gone: for good. */
static void set_leaving_again(struct file *f) {
  if (SET == ONCE) return;
  fence(GONE, SEQCST);
  set_leaving(f);
}

static bool has_lost_its_name(struct file *f) { return load(f->links, RELAXED) == 0; }

static void call_off_leaving(struct file *f) {
  store(f->leaving, 0, RELAXED);
  fence(CALLED_OFF, SEQCST);
  if (LOOKS == AGAIN && has_lost_its_name(f)) {
    set_leaving(f);
    wake_all(&f->page);
  }
}

/* rename(2) over the name, or unlink(2). */
static void take_name(struct file *f, int next) {
  store(f->links, 0, RELAXED);
  store(name, next, RELEASE);
}

/* `remove_name`; `install` and `succeed`. */
static void lose_name(struct file *f, int next) {
  if (ORDER != LEAVING_LAST) set_leaving(f);
  if (ORDER == EPOCH_FIRST) wake_all(&f->page);
  take_name(f, next);
  if (ORDER == LEAVING_LAST) {
    wake_all(&f->page);
    set_leaving(f);
    return;
  }
  set_leaving_again(f);
  if (ORDER != EPOCH_FIRST) wake_all(&f->page);
}

static void publish_line(struct file *f, int number) {
  end_write(bank(&f->slot, number), number);
  announce(&f->slot, number);
  if (has_waiters(&f->page) || READ_ONLY) notify(&f->page, READ_ONLY);
  store(returned, number, RELEASE);
}

/* `Content::put`, into a file that nobody has yet. */
static void carry_on(struct file *f) {
  for (int n = 1; n <= CARRIED_LINE; n++)
    if (n == CARRIED_LINE || CARRIED == ALL_BANKS) end_write(bank(&f->slot, n), n);
  announce(&f->slot, CARRIED_LINE);
}

static void *writer(void *_) {
  struct file *old = &files[0], *next = &files[1];
#if HOW == GROWTH
  carry_on(next);
  if (ORDER == LINE_FIRST) {
    take_name(old, 1);
    publish_line(next, LAST_LINE);
    set_leaving(old);
    wake_all(&old->page);
  } else {
    lose_name(old, 1);
    publish_line(next, LAST_LINE);
  }
#elif HOW == KEPT
  take_name(old, NOBODY); /* by strangers, and the writer finds out */
  carry_on(next);
  store(name, 1, RELEASE);
  set_leaving(old);
  wake_all(&old->page);
  publish_line(next, LAST_LINE);
#elif HOW == KILLED
  /* `take_over`, after the kernel has released the dead one's lock. */
  set_leaving(old);
  call_off_leaving(old);
  wake_all(&old->page);
  publish_line(old, LAST_LINE);
#elif HOW == FORCED
  publish_line(old, LAST_LINE);
#elif HOW == CALLED_BACK
  /* `Writer::look_at_names`; the second that it lets pass is left to chance. */
  if (load(old->leaving, RELAXED) && !has_lost_its_name(old)) call_off_leaving(old);
#endif
  return 0;
}

static void *remover(void *_) { lose_name(&files[0], NOBODY); return 0; }

struct reader { int me, at, held, leaving_asked; /* None: 0; Some(epoch): epoch + 1 */ };

/* `leave`, where `leaving` was seen: whether the reader has gone on. */
static bool leave(struct reader *r) {
  struct file *f = &files[r->at];
  int epoch = ASKED == EPOCH_BEFORE ? prepare_wait(&f->page) : 0;
  if (ASKED == EPOCH_BEFORE && r->leaving_asked == epoch + 1) return false;
  bool lost = has_lost_its_name(f);
  if (ASKED == EPOCH_AFTER) epoch = prepare_wait(&f->page);
  if (ASKED == EPOCH_AFTER && r->leaving_asked == epoch + 1) return false;
  if (!lost) {
    r->leaving_asked = epoch + 1;
    return false;
  }
  /* `attach`. The name may be the old file's for a moment yet: then all this is done again. */
  int next = load(name, ACQUIRE);
  __VERIFIER_assume(next != r->at);
  /* Nor is it nobody's where it will be somebody's: then the directory is watched, which is not modelled. */
  __VERIFIER_assume(HOW != KEPT || next != NOBODY);
  r->at = next;
  r->leaving_asked = 0;
  return true;
}

/* `Reader::look`: the newest number. */
static int look_for(struct reader *r) {
  int known = load(returned, ACQUIRE);
  if (r->at != NOBODY && load(files[r->at].leaving, RELAXED) != 0) leave(r); /* once: the next file stays */
  bool late_read = known == LAST_LINE && HOW == GROWTH && r->at == 0;
  assert(!late_read);
  if (r->at == NOBODY) return r->held;
  int number = look(&files[r->at].slot, r->held);
  if (number == LAPPED) return r->held;
  bool went_back = number < r->held, stale = number < known;
  assert(!went_back);
  assert(!stale);
  return number;
}

/* Whether there is nothing to wait for any more: all was read, or the mailbox is gone. */
static bool is_served(struct reader *r) {
  if (HOW == REMOVAL || HOW == FORCED || HOW == CALLED_BACK) return r->at == NOBODY;
  return r->held == LAST_LINE;
}

static void *sleeps(void *me) {
  struct reader r = {(int)(long)me, 0, HELD, 0};
  for (;;) {
    r.held = look_for(&r);
    if (is_served(&r)) break;
    /* `prepare_sleep`, on the file that it has now, and if it leaves that, looks again. */
    struct file *f = &files[r.at];
    int key = prepare_wait(&f->page);
    if (!READ_ONLY) arm(&f->page, FUTEX);
    int there = has_announced(&f->slot, r.held);
    bool behind = there == BEHIND;
    assert(!behind);
    if (there) continue;
    if (!FORGETS && load(f->leaving, RELAXED) != 0 && leave(&r)) continue;
    if (wait(&f->page, r.me, key) == OVER) return 0;
  }
  atomic_fetch_sub_explicit(&unserved, 1, RELAXED);
  return 0;
}

static void *polls(void *me) {
  struct reader r = {(int)(long)me, 0, HELD, 0};
  for (;;) {
    r.held = look_for(&r);
    if (is_served(&r)) break;
    /* `arm_doorbell`; another file by now is another flag to set. */
    int at = r.at;
    consume(&files[at].page, r.me);
    arm(&files[at].page, BELL);
    int there = has_announced(&files[at].slot, r.held);
    bool behind = there == BEHIND;
    assert(!behind);
    if (there || (!FORGETS && load(files[at].leaving, RELAXED) != 0)) {
      int held = r.held;
      r.held = look_for(&r);
      if (is_served(&r)) break;
      if (r.held != held || r.at != at) continue;
    }
    poll_event(&files[at].page, r.me);
  }
  atomic_fetch_sub_explicit(&unserved, 1, RELAXED);
  return 0;
}

int main(void) {
  pthread_t thread;
  publish_long_ago(&files[0].slot, CARRIED_LINE);
  store(files[0].links, 1, RELAXED);
  store(files[1].links, 1, RELAXED);
  store(unserved, SLEEPERS + POLLERS, RELAXED);
  pthread_mutex_init(&files[0].page.lock, 0);
  pthread_mutex_init(&files[1].page.lock, 0);
  if (HOW != REMOVAL) pthread_create(&thread, 0, writer, 0);
  if (HOW == REMOVAL || HOW == FORCED || HOW == CALLED_BACK) pthread_create(&thread, 0, remover, 0);
  for (long i = 0; i < SLEEPERS; i++) pthread_create(&thread, 0, sleeps, (void *)i);
  for (long i = SLEEPERS; i < SLEEPERS + POLLERS; i++) pthread_create(&thread, 0, polls, (void *)i);
  return 0;
}
