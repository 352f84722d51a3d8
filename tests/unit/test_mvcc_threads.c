/* Threads: writers of their own rows, of the same rows, of one unique key; readers that must see sums that hold. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kv/base/key.h"
#include "mvcc/internal.h"
#include "mvcc/mvcc.h"

enum { THREADS = 8, ACCOUNTS = 40 };

static engine *e;
static char directory[64];
static atomic_int conflicts, uniques, stop;

static void open_engine(bool disk, double retention) {
  engine_options o = {.create = true, .retention = retention};
  char path[80];
  if (disk) {
    snprintf(directory, sizeof directory, "/tmp/helios-threads-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/db", directory);
  }
  ck_assert_int_eq(engine_open(disk ? path : NULL, &o, &e, NULL), HDB_OK);
  conflicts = uniques = stop = 0;
}
static void close_engine(bool disk) {
  char command[80];
  engine_close(e);
  snprintf(command, sizeof command, "rm -rf %s", directory);
  if (disk) ck_assert_int_eq(system(command), 0);
}

static void must(status rc, const char *what) {
  if (rc == HDB_OK) return;
  fprintf(stderr, "%s: status %d\n", what, rc);
  abort();
}

static int64_t read_number(cursor *c, int64_t rowid) {
  uint8_t key[8];
  rowid_encode(key, rowid);
  if (!cursor_find(c, slice_of(key, 8))) {
    must(c->error, "find");
    return -1;
  }
  return (int64_t)get_be64(c->value.p);
}
static void write_number(txn *t, int64_t rowid, int64_t number, enum put_kind kind) {
  uint8_t key[8], value[100] = {0};
  rowid_encode(key, rowid);
  put_be64(value, (uint64_t)number);
  must(txn_put(t, 16, slice_of(key, 8), slice_of(value, sizeof value), kind), "put");
}

typedef struct job {
  int number, rounds;
  uint64_t seed;
  int64_t done;
} job;
static uint32_t rnd(job *j, uint32_t n) {
  j->seed = j->seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(j->seed >> 33) % n;
}

static void run(void *(*what)(void *), int n, int rounds, job *jobs) {
  pthread_t threads[THREADS];
  for (int i = 0; i < n; i++) {
    jobs[i] = (job){.number = i, .rounds = rounds, .seed = (uint64_t)i + 1};
    ck_assert_int_eq(pthread_create(&threads[i], NULL, what, &jobs[i]), 0);
  }
  for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

static txn *new_txn(void) {
  txn *t;
  must(txn_new(e, &t), "txn_new");
  txn_set_sync(t, TXN_SYNC_OFF);
  txn_set_policy(t, TXN_FIRST_COMMIT_WINS);
  return t;
}

/* ---- each its own rows, of one tree ---- */

static void *own_rows(void *argument) {
  job *j = argument;
  txn *t = new_txn();
  for (int i = 0; i < j->rounds; i++) {
    must(txn_begin(t, TXN_READ, 0), "begin");
    int64_t id;
    must(txn_new_rowid(t, 16, INT64_MIN, &id), "rowid");
    write_number(t, id, j->number, PUT_INSERT);
    status rc = txn_commit(t, 0, NULL);
    if (rc == HDB_BUSY_SNAPSHOT) {
      atomic_fetch_add(&conflicts, 1);
      txn_rollback(t);
      continue;
    }
    must(rc, "commit");
    j->done++;
  }
  txn_free(t);
  return NULL;
}

START_TEST(writers_of_their_own_rows_never_conflict) {
  job jobs[THREADS];
  open_engine(_i, _i ? -1 : 0);
  run(own_rows, THREADS, 150, jobs);
  ck_assert_int_eq(conflicts, 0);
  txn *t = new_txn();
  cursor *c;
  int64_t n = 0, rows;
  must(txn_begin(t, TXN_READ, 0), "begin");
  cursor_open(t, 16, 0, &c);
  for (cursor_first(c); c->valid; cursor_next(c)) n++;
  ck_assert_int_eq(n, THREADS * 150);
  ck_assert_int_eq(txn_count(t, 16, &rows), HDB_OK);
  ck_assert_int_eq(rows, n);
  cursor_close(c);
  txn_free(t);
  close_engine(_i);
}
END_TEST

/* ---- transfers between the same rows, while readers add up ---- */

static void *transfers(void *argument) {
  job *j = argument;
  txn *t = new_txn();
  cursor *c;
  must(cursor_open(t, 16, 0, &c), "open");
  for (int i = 0; i < j->rounds;) {
    int64_t from = rnd(j, ACCOUNTS), to = rnd(j, ACCOUNTS);
    if (from == to) continue;
    must(txn_begin(t, TXN_READ, 0), "begin");
    int64_t a = read_number(c, from), b = read_number(c, to);
    cursor_reset(c);
    write_number(t, from, a - 1, PUT_UPDATE);
    write_number(t, to, b + 1, PUT_UPDATE);
    status rc = txn_commit(t, 0, NULL);
    if (rc == HDB_OK) {
      i++;
      continue;
    }
    if (rc != HDB_BUSY_SNAPSHOT) must(rc, "commit");
    atomic_fetch_add(&conflicts, 1);
    txn_rollback(t);
  }
  cursor_close(c);
  txn_free(t);
  return NULL;
}

static void *sums(void *argument) {
  job *j = argument;
  txn *t = new_txn();
  cursor *c;
  must(cursor_open(t, 16, 0, &c), "open");
  while (!atomic_load(&stop)) {
    must(txn_begin(t, TXN_READ, 0), "begin");
    int64_t sum = 0, points = 0;
    for (cursor_first(c); c->valid; cursor_next(c)) sum += (int64_t)get_be64(c->value.p);
    must(c->error, "scan");
    for (int i = 0; i < ACCOUNTS; i++) points += read_number(c, i);
    cursor_reset(c);
    if (sum != 1000 * ACCOUNTS || points != sum) {
      fprintf(stderr, "sum %lld points %lld\n", (long long)sum, (long long)points);
      abort();
    }
    txn_rollback(t);
    j->done++;
  }
  cursor_close(c);
  txn_free(t);
  return NULL;
}

static int64_t beginning;

/* The same at any time since the beginning. */
static void *past_sums(void *argument) {
  job *j = argument;
  txn *t = new_txn();
  while (!atomic_load(&stop)) {
    int64_t newest = engine_newest(e), time = beginning + (int64_t)rnd(j, (uint32_t)(newest - beginning) + 1), sum = 0, points = 0;
    cursor *c;
    must(txn_begin(t, TXN_READ, 0), "begin");
    must(cursor_open(t, 16, time, &c), "open");
    for (cursor_first(c); c->valid; cursor_next(c)) sum += (int64_t)get_be64(c->value.p);
    must(c->error, "scan");
    for (int i = 0; i < ACCOUNTS; i++) points += read_number(c, i);
    cursor_close(c);
    txn_rollback(t);
    if (sum != 1000 * ACCOUNTS || points != sum) {
      fprintf(stderr, "then: sum %lld points %lld\n", (long long)sum, (long long)points);
      abort();
    }
    j->done++;
  }
  txn_free(t);
  return NULL;
}

static void *packs(void *argument) {
  while (!atomic_load(&stop)) must(pack_all(e), "pack");
  return argument;
}

START_TEST(the_past_keeps_the_sum_while_it_is_packed) {
  void *(*const what[])(void *) = {past_sums, past_sums, packs};
  job jobs[THREADS], others[3];
  pthread_t threads[3];
  open_engine(_i, 3600);
  txn *t = new_txn();
  must(txn_begin(t, TXN_READ, 0), "begin");
  for (int i = 0; i < ACCOUNTS; i++) write_number(t, i, 1000, PUT_INSERT);
  must(txn_commit(t, 0, NULL), "commit");
  txn_free(t);
  beginning = engine_newest(e);
  for (int i = 0; i < 3; i++) {
    others[i] = (job){.number = i, .seed = (uint64_t)i + 99};
    pthread_create(&threads[i], NULL, what[i], &others[i]);
  }
  run(transfers, 3, 150, jobs);
  atomic_store(&stop, 1);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  ck_assert_int_gt(others[0].done + others[1].done, 0);
  close_engine(_i);
}
END_TEST

START_TEST(transfers_between_the_same_rows_keep_the_sum) {
  job jobs[THREADS], readers[2];
  pthread_t threads[2];
  open_engine(_i, _i ? -1 : 0);
  txn *t = new_txn();
  must(txn_begin(t, TXN_READ, 0), "begin");
  for (int i = 0; i < ACCOUNTS; i++) write_number(t, i, 1000, PUT_INSERT);
  must(txn_commit(t, 0, NULL), "commit");
  txn_free(t);
  for (int i = 0; i < 2; i++) {
    readers[i] = (job){.number = i};
    pthread_create(&threads[i], NULL, sums, &readers[i]);
  }
  run(transfers, THREADS, 120, jobs);
  atomic_store(&stop, 1);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  ck_assert_int_gt(readers[0].done + readers[1].done, 0);
  close_engine(_i);
}
END_TEST

/* ---- one key that must be unique ---- */

static void *unique_keys(void *argument) {
  job *j = argument;
  txn *t = new_txn();
  cursor *c;
  must(cursor_open(t, 17, 0, &c), "open");
  for (int i = 0; i < j->rounds; i++) {
    uint8_t key[5];
    put_be32(key, (uint32_t)i / 2), key[4] = (uint8_t)j->number;
    must(txn_begin(t, TXN_READ, 0), "begin");
    cursor_seek(c, slice_of(key, 4));
    bool taken = c->valid && slice_starts(c->key, slice_of(key, 4));
    cursor_reset(c);
    if (taken) {
      txn_rollback(t);
      continue;
    }
    must(txn_put(t, 17, slice_of(key, 5), slice_of(NULL, 0), PUT_INSERT), "put");
    must(txn_expect(t, FACT_UNIQUE, 17, slice_of(key, 4)), "expect");
    status rc = txn_commit(t, 0, NULL);
    if (rc == HDB_CONSTRAINT_UNIQUE) {
      atomic_fetch_add(&uniques, 1);
      txn_rollback(t);
      continue;
    }
    must(rc, "commit");
    j->done++;
  }
  cursor_close(c);
  txn_free(t);
  return NULL;
}

START_TEST(a_unique_key_is_won_by_one) {
  enum { ROUNDS = 200 };
  job jobs[THREADS];
  open_engine(_i, _i ? -1 : 0);
  run(unique_keys, THREADS, ROUNDS, jobs);
  int64_t won = 0;
  for (int i = 0; i < THREADS; i++) won += jobs[i].done;
  ck_assert_int_eq(won, ROUNDS / 2);
  close_engine(_i);
}
END_TEST

/* ---- turns ---- */

static void *turns(void *argument) {
  job *j = argument;
  txn *t = new_txn();
  cursor *c;
  must(cursor_open(t, 16, 0, &c), "open");
  for (int i = 0; i < j->rounds; i++) {
    if (j->number % 4 == 3) { /* optimistic ones in between, on a row of their own */
      must(txn_begin(t, TXN_READ, 0), "begin");
      write_number(t, 100 + j->number, i, PUT_UPSERT);
      must(txn_commit(t, 60000, NULL), "commit");
      continue;
    }
    must(txn_begin(t, TXN_IMMEDIATE, 60000), "turn");
    int64_t n = read_number(c, 1);
    cursor_reset(c);
    write_number(t, 1, n + 1, PUT_UPSERT);
    must(txn_commit(t, 60000, NULL), "commit");
  }
  cursor_close(c);
  txn_free(t);
  return NULL;
}

START_TEST(turns_never_conflict) {
  job jobs[THREADS];
  open_engine(_i, _i ? -1 : 0);
  run(turns, THREADS, 60, jobs);
  txn *t = new_txn();
  cursor *c;
  must(txn_begin(t, TXN_READ, 0), "begin");
  cursor_open(t, 16, 0, &c);
  ck_assert_int_eq(read_number(c, 1), 6 * 60 - 1);
  cursor_close(c);
  txn_free(t);
  close_engine(_i);
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_threads");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, writers_of_their_own_rows_never_conflict, 0, 2);
  tcase_add_loop_test(c, transfers_between_the_same_rows_keep_the_sum, 0, 2);
  tcase_add_loop_test(c, the_past_keeps_the_sum_while_it_is_packed, 0, 2);
  tcase_add_loop_test(c, a_unique_key_is_won_by_one, 0, 2);
  tcase_add_loop_test(c, turns_never_conflict, 0, 2);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
