/* Several transactions interleaved at random in one thread, with the outcome of every commit foretold by a model:
 * exact conflicts, no more and no fewer, under each policy; facts; and what each transaction sees meanwhile. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "mvcc/mvcc.h"

enum { KEYS = 64, TXNS = 4, TREE = 16, PREFIX = 4 /* keys that share one */ };

typedef struct world {
  bool there[KEYS];
  uint32_t value[KEYS];
} world;

typedef struct actor {
  txn *t;
  cursor *c;
  enum txn_policy policy;
  bool open;
  int began;             /* number of commits then */
  world base, now;       /* its view, without and with its writes */
  bool wrote[KEYS];      /* the write set holds something for it */
  bool made_here[KEYS];  /* ... of which the base did not have it */
  bool read[KEYS];       /* the key, or the gap there, was looked at */
  bool stands;
  int key;
  struct {
    enum fact kind;
    int prefix;
  } facts[8];
  int facts_n;
} actor;

static world committed;
static int changed_at[KEYS]; /* commit number that last changed the key */
static int commits, tree_changed_at;
static int oks, conflicts, broken_facts;
static uint64_t seed;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}

static slice key_of(int k) {
  static uint8_t bytes[4][6];
  static int turn;
  uint8_t *p = bytes[turn = (turn + 1) % 4];
  p[0] = 'k', p[1] = (uint8_t)('a' + k / PREFIX), p[2] = (uint8_t)('0' + k % PREFIX);
  return slice_of(p, 3);
}
static slice prefix_of(int group) { return slice_of(key_of(group * PREFIX).p, 2); }
static int number_of(slice key) { return (key.p[1] - 'a') * PREFIX + key.p[2] - '0'; }

static int count_prefix(const world *w, int group) {
  int n = 0;
  for (int k = group * PREFIX; k < (group + 1) * PREFIX; k++) n += w->there[k];
  return n;
}
static bool holds(enum fact kind, int count) {
  return kind == FACT_UNIQUE ? count <= 1 : kind == FACT_EXISTS ? count >= 1 : count == 0;
}

static void begin(actor *a) {
  a->policy = (enum txn_policy)rnd(3);
  txn_set_policy(a->t, a->policy);
  ck_assert_int_eq(txn_begin(a->t, TXN_READ, 0), HDB_OK);
  a->open = true, a->began = commits, a->stands = false, a->facts_n = 0;
  a->base = a->now = committed;
  memset(a->wrote, 0, sizeof a->wrote), memset(a->made_here, 0, sizeof a->made_here);
  memset(a->read, 0, sizeof a->read);
}

static void see(actor *a, int k) {
  ck_assert_int_eq(a->c->error, HDB_OK);
  a->stands = k >= 0 && k < KEYS;
  ck_assert(a->c->valid == a->stands);
  if (!a->stands) return;
  a->key = k;
  ck_assert_int_eq(number_of(a->c->key), k);
  ck_assert_uint_eq(get_be32(a->c->value.p), a->now.value[k]);
}

static int next_there(const world *w, int k) {
  while (k < KEYS && !w->there[k]) k++;
  return k;
}
static int last_there(const world *w, int k) {
  while (k >= 0 && !w->there[k]) k--;
  return k;
}
static void reads(actor *a, int from, int to) {
  for (int k = from < 0 ? 0 : from; k <= to && k < KEYS; k++) a->read[k] = true;
}

static void read_some(actor *a) {
  int k = (int)rnd(KEYS), at;
  switch (rnd(a->stands ? 6 : 3)) {
  case 0:
    cursor_find(a->c, key_of(k));
    reads(a, k, k);
    see(a, a->now.there[k] ? k : -1);
    break;
  case 1:
    cursor_seek(a->c, key_of(k));
    at = next_there(&a->now, k);
    reads(a, k, at);
    see(a, at);
    break;
  case 2:
    cursor_seek_for_prev(a->c, key_of(k));
    at = last_there(&a->now, k);
    reads(a, at, k);
    see(a, at);
    break;
  case 3:
  case 4:
    k = a->key;
    cursor_next(a->c);
    at = next_there(&a->now, k + 1);
    reads(a, k, at);
    see(a, at);
    break;
  default:
    k = a->key;
    cursor_prev(a->c);
    at = last_there(&a->now, k - 1);
    reads(a, at, k);
    see(a, at);
  }
}

static void write_some(actor *a) {
  int k = (int)rnd(KEYS);
  uint8_t value[60] = {0};
  if (!a->now.there[k] && rnd(2)) return; /* few rows, so that facts come near to breaking */
  if (!a->wrote[k]) a->made_here[k] = !a->base.there[k];
  if (a->now.there[k] && rnd(4)) {
    ck_assert_int_eq(txn_delete(a->t, TREE, key_of(k)), HDB_OK);
    a->now.there[k] = false;
  } else {
    uint32_t v = rnd(1000000);
    put_be32(value, v);
    ck_assert_int_eq(txn_put(a->t, TREE, key_of(k), slice_of(value, 4 + rnd(50)), a->now.there[k] ? PUT_UPDATE : PUT_NEW),
                     HDB_OK);
    a->now.there[k] = true, a->now.value[k] = v;
  }
  a->wrote[k] = true;
}

static void state_fact(actor *a) {
  int group = (int)rnd(KEYS / PREFIX);
  enum fact kind = (enum fact)rnd(3);
  if (a->facts_n == 8 || !holds(kind, count_prefix(&a->now, group))) return;
  ck_assert_int_eq(txn_expect(a->t, kind, TREE, prefix_of(group)), HDB_OK);
  a->facts[a->facts_n].kind = kind, a->facts[a->facts_n++].prefix = group;
}

/* What the commit must say. */
static status foretell(const actor *a, world *result) {
  *result = committed;
  bool conflict = false;
  status first = HDB_OK; /* of the keys written, in order: one given twice is a unique key broken */
  for (int k = 0; k < KEYS; k++) {
    bool nothing = !a->wrote[k] || (a->made_here[k] && !a->now.there[k]);
    if (!nothing) {
      bool twice = a->made_here[k] && a->now.there[k] && committed.there[k];
      if (changed_at[k] > a->began && first == HDB_OK) first = twice ? HDB_CONSTRAINT_UNIQUE : HDB_BUSY_SNAPSHOT;
      result->there[k] = a->now.there[k], result->value[k] = a->now.value[k];
    }
    if (a->policy == TXN_SERIALIZABLE && a->read[k] && changed_at[k] > a->began) conflict = true;
  }
  bool logged = a->facts_n > 0;
  for (int k = 0; k < KEYS; k++) logged = logged || a->wrote[k];
  if (!logged) return HDB_OK; /* it wrote nothing: never validated */
  for (int i = a->facts_n - 1; i >= 0; i--) {
    if (tree_changed_at <= a->began || holds(a->facts[i].kind, count_prefix(result, a->facts[i].prefix))) continue;
    return a->facts[i].kind == FACT_UNIQUE ? HDB_CONSTRAINT_UNIQUE : HDB_CONSTRAINT_FOREIGNKEY;
  }
  return first != HDB_OK ? first : conflict ? HDB_BUSY_SNAPSHOT : HDB_OK;
}

static void commit(actor *a) {
  world result;
  int64_t time;
  status expected = foretell(a, &result), rc = txn_commit(a->t, 0, &time);
  ck_assert_int_eq(rc, expected);
  a->open = false;
  cursor_reset(a->c);
  if (rc != HDB_OK) {
    conflicts += rc == HDB_BUSY_SNAPSHOT, broken_facts += rc != HDB_BUSY_SNAPSHOT;
    txn_rollback(a->t);
    return;
  }
  oks++;
  if (!time) return;
  commits++;
  for (int k = 0; k < KEYS; k++) {
    if (a->wrote[k] && !(a->made_here[k] && !a->now.there[k])) changed_at[k] = tree_changed_at = commits;
  }
  committed = result;
}

static void interleave(engine *e, int steps) {
  static actor actors[TXNS];
  memset(actors, 0, sizeof actors), memset(&committed, 0, sizeof committed);
  memset(changed_at, 0, sizeof changed_at);
  commits = tree_changed_at = 0;
  for (int i = 0; i < TXNS; i++) {
    ck_assert_int_eq(txn_new(e, &actors[i].t), HDB_OK);
    txn_set_sync(actors[i].t, TXN_SYNC_OFF);
    ck_assert_int_eq(cursor_open(actors[i].t, TREE, 0, &actors[i].c), HDB_OK);
  }
  for (int step = 0; step < steps; step++) {
    actor *a = &actors[rnd(TXNS)];
    if (!a->open) begin(a);
    uint32_t what = rnd(100);
    if (what < 55) read_some(a);
    else if (what < 75) write_some(a);
    else if (what < 87) state_fact(a);
    else if (what < 97) commit(a);
    else {
      cursor_reset(a->c);
      txn_rollback(a->t);
      a->open = false;
    }
  }
  for (int i = 0; i < TXNS; i++) {
    cursor_close(actors[i].c);
    txn_free(actors[i].t);
  }
}

START_TEST(every_commit_ends_as_foretold) {
  engine *e;
  engine_options o = {.create = true, .retention = _i % 2 ? 3600 : 0};
  seed = (uint64_t)_i * 31 + 7;
  oks = conflicts = broken_facts = 0;
  ck_assert_int_eq(engine_open(NULL, &o, &e, NULL), HDB_OK);
  interleave(e, 20000);
  engine_close(e);
  ck_assert_int_gt(oks, 300);
  ck_assert_int_gt(conflicts, 100);
  ck_assert_int_gt(broken_facts, 10);
}
END_TEST

START_TEST(and_on_disk) {
  char directory[] = "/tmp/helios-interleave-XXXXXX", path[64], command[64];
  engine *e;
  engine_options o = {.create = true, .retention = _i % 2 ? 3600 : 0};
  seed = (uint64_t)_i * 31 + 77;
  ck_assert_ptr_nonnull(mkdtemp(directory));
  snprintf(path, sizeof path, "%s/db", directory);
  ck_assert_int_eq(engine_open(path, &o, &e, NULL), HDB_OK);
  interleave(e, 6000);
  engine_close(e);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_interleave");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, every_commit_ends_as_foretold, 0, 10);
  tcase_add_loop_test(c, and_on_disk, 0, 4);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
