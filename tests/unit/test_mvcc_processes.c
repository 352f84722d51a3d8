/* An engine whose storage is another process's, against the model; owners that go in the middle; nonsense on the socket. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mvcc/process.h"
#include "tests/unit/mvcc_model.h"
#include "tests/unit/mvcc_numbers.h"

/* A child that opens the directory and keeps it until it is killed, at the latest when the test ends; after_ms: it kills
 * itself then. */
static pid_t start_owner(int after_ms) {
  int ready[2];
  char byte;
  ck_assert_int_eq(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    close(ready[0]);
    engine *e = NULL;
    engine_options o = {.create = true, .retention = -1};
    status rc = engine_open(path(), &o, &e, NULL);
    if (rc != HDB_OK || write(ready[1], "x", 1) != 1) _exit(1);
    if (after_ms) usleep((useconds_t)after_ms * 1000);
    else pause();
    kill(getpid(), SIGKILL);
  }
  close(ready[1]);
  ck_assert_int_eq(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  return child;
}

static void end_owner(pid_t child) {
  int code;
  kill(child, SIGKILL);
  waitpid(child, &code, 0);
  ck_assert(WIFSIGNALED(code));
}

static void check_contents(engine *e, const model *kept) {
  txn *t;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  for (uint32_t k = 0; k < MODEL_TREES; k++) {
    int64_t rows;
    same_all(t, 20 + k, &kept[k]);
    ck_assert_int_eq(txn_count(t, 20 + k, &rows), HDB_OK);
    ck_assert_int_eq(rows, (int64_t)kept[k].n);
  }
  txn_free(t);
}

static void free_models(model *kept) {
  for (int k = 0; k < MODEL_TREES; k++) free(kept[k].items);
}

START_TEST(a_client_does_what_the_model_does) {
  model kept[MODEL_TREES] = {{0}};
  pid_t owner = start_owner(0);
  shape = _i, seed = 5 + (uint64_t)_i;
  model_sync = TXN_SYNC_OFF;
  model_policy = _i == 1 ? TXN_SERIALIZABLE : TXN_LAST_COMMIT_WINS;
  engine *e = open_disk(-1, 0);
  ck_assert(!engine_is_owner(e));
  run_model(e, 600, 60, 2500, kept);
  ck_assert(!engine_is_owner(e));
  check_contents(e, kept);
  engine_close(e);
  end_owner(owner);
  e = open_disk(-1, 0);
  ck_assert(engine_is_owner(e));
  check_contents(e, kept);
  engine_close(e);
  free_models(kept);
}
END_TEST

START_TEST(the_owner_goes_in_the_middle) {
  model kept[MODEL_TREES] = {{0}};
  pid_t owner = start_owner(5 + 8 * _i);
  shape = _i % 3, seed = 50 + (uint64_t)_i;
  model_sync = TXN_SYNC_OFF;
  engine *e = open_disk(-1, 0);
  bool was_client = !engine_is_owner(e);
  run_model(e, 600, 60, 4000, kept);
  if (was_client && _i == 0) ck_assert(engine_is_owner(e));
  check_contents(e, kept);
  engine_close(e);
  end_owner(owner);
  e = open_disk(-1, 0);
  check_contents(e, kept);
  engine_close(e);
  free_models(kept);
}
END_TEST

/* An idle client's views go; what it has open goes on as of its time. */
START_TEST(views_of_an_idle_client_go) {
  int to_child[2], to_parent[2];
  char byte;
  ck_assert_int_eq(pipe(to_child) + pipe(to_parent), 0);
  engine_options o = {.create = true, .retention = -1};
  engine *e;
  ck_assert_int_eq(engine_open(path(), &o, &e, NULL), HDB_OK);
  txn *t;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  for (uint32_t n = 1; n < 4000; n++) {
    uint8_t key[8];
    rowid_encode(key, n);
    if (n % 1000 == 1) ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
    ck_assert_int_eq(txn_put(t, 40, slice_of(key, 8), slice_str("first, of some length"), PUT_INSERT), HDB_OK);
    if (n % 1000 == 0 || n == 3999) ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  }
  pid_t child = fork();
  if (child == 0) {
    engine *mine;
    txn *x;
    cursor *c;
    if (engine_open(path(), &o, &mine, NULL) != HDB_OK || txn_new(mine, &x) != HDB_OK) _exit(2);
    if (txn_begin(x, TXN_READ, 0) != HDB_OK || cursor_open(x, 40, 0, &c) != HDB_OK) _exit(3);
    cursor_first(c);
    if (!c->valid || write(to_parent[1], "x", 1) != 1 || read(to_child[0], &byte, 1) != 1) _exit(4);
    uint32_t n = 0;
    for (; c->valid; cursor_next(c), n++)
      if (!slice_equal(c->value, slice_str("first, of some length"))) _exit(5);
    if (c->error != HDB_OK || n != 3999) _exit(6);
    cursor_close(c);
    txn_free(x);
    _exit(0);
  }
  ck_assert_int_eq(read(to_parent[0], &byte, 1), 1);
  sessions_drop_idle(e, -1000);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  for (uint32_t n = 1; n < 4000; n += 3) {
    uint8_t key[8];
    rowid_encode(key, n);
    ck_assert_int_eq(txn_put(t, 40, slice_of(key, 8), slice_str("second"), PUT_UPDATE), HDB_OK);
  }
  ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  ck_assert_int_eq(write(to_child[1], "x", 1), 1);
  int code;
  waitpid(child, &code, 0);
  ck_assert(WIFEXITED(code));
  ck_assert_int_eq(WEXITSTATUS(code), 0);
  txn_free(t);
  engine_close(e);
}
END_TEST

/* ---- nonsense ---- */

static bool greet(int fd, const uint8_t token[OWNER_TOKEN], uint32_t kind, const uint8_t *session) {
  uint8_t theirs[44], ours[72] = {0};
  if (recv(fd, theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs) return false;
  memcpy(ours, theirs, 8);
  memcpy(ours + 8, &kind, 4);
  uint64_t client = 77;
  memcpy(ours + 16, &client, 8);
  memcpy(ours + 24, session ? session : token, OWNER_TOKEN);
  return send(fd, ours, sizeof ours, MSG_NOSIGNAL) == sizeof ours;
}

static int patient(int fd) {
  struct timeval t = {.tv_usec = 300000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  return fd;
}

/* A number as the protocol writes it, mostly a likely one. */
static void put_random(buf *b) {
  static const uint64_t likely[] = {0, 1, 2, 3, 8, 20, 21, 255, 1 << 20, UINT32_MAX, INT64_MAX, UINT64_MAX};
  if (rnd(3)) buf_varint(b, likely[rnd(sizeof likely / sizeof *likely)]);
  else buf_byte(b, (uint8_t)rnd(256));
}

static void talk_nonsense(uint64_t from) {
  uint8_t token[OWNER_TOKEN], session[OWNER_TOKEN];
  buf b = BUF_INIT;
  seed = from;
  int control = owner_connect(path(), token, 1000);
  if (control < 0 || !greet(patient(control), token, 1, NULL)) _exit(2);
  char byte;
  uint32_t what;
  slice body;
  inbox in = {.fd = control};
  if (recv(control, &byte, 1, 0) != 1 || !message_receive(&in, &what, &body) || body.n < sizeof session) _exit(3);
  memcpy(session, body.p, sizeof session);
  for (int round = 0; round < 400; round++) {
    uint8_t unused[OWNER_TOKEN];
    int fd = owner_connect(path(), unused, 1000);
    if (fd < 0) _exit(4);
    inbox replies = {.fd = patient(fd)};
    bool fine = greet(fd, token, 2, session) && message_receive(&replies, &what, &body);
    for (int k = 0; fine && k < 20; k++) {
      uint32_t ask = rnd(2) ? 1 + rnd(2) : 16 + rnd(22);
      if (ask == 16 + 2) ask = 16; /* not the turn: somebody would wait for it */
      buf_clear(&b);
      for (uint32_t n = rnd(24); n; n--) put_random(&b);
      slice part = buf_slice(&b);
      fine = message_send(fd, ask | (rnd(8) ? 0 : (uint32_t)MESSAGE_NO_REPLY), &part, 1);
      if (fine && rnd(4) && !message_receive(&replies, &what, &body)) fine = false;
    }
    if (rnd(4) == 0) { /* half a message, or a length that nobody has */
      uint8_t head[8] = {0};
      for (int k = 0; k < 8; k++) head[k] = (uint8_t)rnd(256);
      if (send(fd, head, 1 + rnd(8), MSG_NOSIGNAL) < 0) fine = false;
    }
    buf_free(&replies.bytes);
    owner_close(fd);
  }
  _exit(0);
}

START_TEST(nonsense_on_the_socket_harms_nobody) {
  engine_options o = {.create = true, .retention = -1};
  engine *e;
  ck_assert_int_eq(chdir(directory), 0); /* whatever it should make somebody write */
  ck_assert_int_eq(engine_open(path(), &o, &e, NULL), HDB_OK);
  txn *t;
  ck_assert_int_eq(txn_new(e, &t), HDB_OK);
  uint8_t key[8];
  rowid_encode(key, 1);
  ck_assert_int_eq(txn_begin(t, TXN_READ, 0), HDB_OK);
  ck_assert_int_eq(txn_put(t, 40, slice_of(key, 8), slice_str("kept"), PUT_INSERT), HDB_OK);
  ck_assert_int_eq(txn_commit(t, 0, NULL), HDB_OK);
  for (uint64_t k = 0; k < 2; k++) {
    pid_t child = fork();
    if (child == 0) talk_nonsense(k + 1);
    int code;
    waitpid(child, &code, 0);
    ck_assert(WIFEXITED(code));
    ck_assert_int_eq(WEXITSTATUS(code), 0);
  }
  ck_assert_int_eq(txn_begin(t, TXN_IMMEDIATE, 5000), HDB_OK);
  cursor *c;
  ck_assert_int_eq(cursor_open(t, 40, 0, &c), HDB_OK);
  ck_assert(cursor_find(c, slice_of(key, 8)));
  cursor_close(c);
  txn_rollback(t);
  txn_free(t);
  engine_close(e);
  DIR *d = opendir(directory);
  ck_assert_ptr_nonnull(d);
  for (struct dirent *entry; (entry = readdir(d));) /* a copy goes where a whole path says, and nowhere else */
    ck_assert(entry->d_name[0] == '.' || strcmp(entry->d_name, "db") == 0);
  closedir(d);
  ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(network_file_systems_are_known) {
  ck_assert_str_eq(owner_network_name(0x6969), "NFS");
  ck_assert_str_eq(owner_network_name(0xff534d42), "SMB");
  ck_assert_ptr_null(owner_network_name(0xef53)); /* ext4 */
  ck_assert_ptr_null(owner_network(directory));
}
END_TEST

int main(void) {
  Suite *s = suite_create("mvcc_processes");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 120);
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_loop_test(c, a_client_does_what_the_model_does, 0, 3);
  tcase_add_loop_test(c, the_owner_goes_in_the_middle, 0, 6);
  tcase_add_test(c, views_of_an_idle_client_go);
  tcase_add_test(c, network_file_systems_are_known);
  tcase_add_test(c, nonsense_on_the_socket_harms_nobody);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
