/* Crashes of a database and its app.db: kill -9, or the power cut, at random points of opening, taking an SQLite file in,
 * merging what a tool changed, restoring, committing, checkpoints and closing.
 *
 *   sim_mirror kill|power ROUNDS [SEED]
 *
 * Between two crashes something may happen to the file, as SQLite's own tools do it: a row more and a column changed
 * (sometimes in WAL mode), a copy put away, the copy put back, everything deleted and a new SQLite file in its place.
 * What was acknowledged, by us or by SQLite, is noted in memory that outlives the process. After each crash:
 *   - stock SQLite opens app.db, and its integrity_check is ok;
 *   - unless a tool wrote it since, app.db holds main as of its stamp's time;
 *   - our database opens, holds rows 1..n with n what was acknowledged (at most one more), every change of the tool's,
 *     and nothing that a restore took away; integrity_check ok;
 *   - after closing, app.db holds the same.
 * Prints one line a failure and a closing line with the counts; exit 1 when one round failed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/fault.h"
#include "sql/hdb.h"

typedef struct facts {
  int64_t rows, highest, notes, tools;
} facts;
static struct shared {
  volatile int64_t acknowledged; /* rows 1..n */
  volatile int64_t tools;        /* rows and notes that the tool has committed */
  volatile int ready;
  facts kept; /* of the copy */
  bool has_copy;
  int64_t commits, merges, restores, imports;
} *shared;
static char path[256], copy[300];
static uint64_t seed;
static int round_number;
static const char *const facts_sql = "SELECT count(*), coalesce(max(i), 0), coalesce(sum(note), 0), (SELECT count(*) FROM tool%s) FROM a%s";

static unsigned random_below(unsigned n) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)(seed >> 33) % n;
}

static bool complain(const char *what, const char *why) {
  printf("round %d: %s: %s\n", round_number, what, why);
  return false;
}

/* ---- stock SQLite ---- */

static sqlite3 *stock_open(void) {
  sqlite3 *s = NULL;
  if (sqlite3_open(path, &s) != SQLITE_OK) complain("stock cannot open", sqlite3_errmsg(s));
  sqlite3_busy_timeout(s, 5000);
  return s;
}

static bool stock_text(sqlite3 *s, const char *sql, char *out, size_t room) {
  sqlite3_stmt *q = NULL;
  bool got = sqlite3_prepare_v2(s, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
  if (got) snprintf(out, room, "%s", (const char *)sqlite3_column_text(q, 0));
  sqlite3_finalize(q);
  return got;
}

static bool stock_facts(sqlite3 *s, facts *out) {
  sqlite3_stmt *q = NULL;
  char sql[300];
  snprintf(sql, sizeof sql, facts_sql, "", "");
  bool got = sqlite3_prepare_v2(s, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
  if (got) *out = (facts){sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1), sqlite3_column_int64(q, 2), sqlite3_column_int64(q, 3)};
  sqlite3_finalize(q);
  return got;
}

static int64_t stock_number(sqlite3 *s, const char *sql) {
  char text[40] = "-1";
  stock_text(s, sql, text, sizeof text);
  return strtoll(text, NULL, 10);
}

/* ---- what happens to the file between two crashes ---- */

static int remove_entry(const char *name, const struct stat *st, int flag, struct FTW *ftw) { return remove(name); }

static void remove_all(void) {
  static const char *const tails[] = {"", "-journal", "-wal", "-shm"};
  char name[320];
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "%s%s", path, tails[i]);
    unlink(name);
  }
  snprintf(name, sizeof name, "%s-helios", path);
  nftw(name, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static bool copy_file(const char *from, const char *to) {
  char command[700];
  snprintf(command, sizeof command, "cat '%s' > '%s'", from, to);
  return system(command) == 0;
}

static int begin_anew(int rows) {
  char sql[400];
  remove_all();
  sqlite3 *s = stock_open();
  snprintf(sql, sizeof sql,
           "CREATE TABLE a(i INTEGER PRIMARY KEY, pad TEXT, note INT DEFAULT 0); CREATE INDEX a_pad ON a(pad); CREATE TABLE tool(k INTEGER PRIMARY KEY);"
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO a(i, pad) SELECT i, hex(randomblob(20)) FROM n",
           rows);
  int rc = sqlite3_exec(s, sql, NULL, NULL, NULL);
  sqlite3_close(s);
  shared->acknowledged = rows, shared->tools = 0, shared->has_copy = false;
  shared->imports++;
  return rc;
}

/* One transaction of a tool's: the row k, and k added to the note of some row. */
static void tool_writes(void) {
  sqlite3 *s = stock_open();
  facts now;
  if (stock_facts(s, &now) && now.rows > 0) {
    char sql[300];
    int64_t k = shared->tools + 1;
    snprintf(sql, sizeof sql, "%sBEGIN; INSERT INTO tool VALUES(%" PRId64 "); UPDATE a SET note = note + 1 WHERE i = %" PRId64 "; COMMIT",
             random_below(4) ? "" : "PRAGMA journal_mode = WAL;", k, 1 + (int64_t)random_below((unsigned)now.highest));
    if (sqlite3_exec(s, sql, NULL, NULL, NULL) == SQLITE_OK) shared->tools = k, shared->merges++;
  }
  sqlite3_close(s);
}

static void put_away(void) {
  sqlite3 *s = stock_open(); /* rolls a journal back, takes a -wal in */
  bool got = stock_facts(s, &shared->kept) && sqlite3_exec(s, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) == SQLITE_OK;
  sqlite3_close(s);
  shared->has_copy = got && copy_file(path, copy);
}

static void put_back(void) {
  char name[320];
  if (!shared->has_copy) return;
  sqlite3 *s = stock_open();
  facts now;
  bool sound = stock_facts(s, &now);
  sqlite3_close(s);
  snprintf(name, sizeof name, "%s-journal", path);
  if (!sound || access(name, F_OK) == 0 || !copy_file(copy, path)) return;
  shared->acknowledged = shared->kept.highest, shared->tools = shared->kept.tools;
  shared->restores++;
}

static int happen(int what) {
  switch (what) {
  case 0:
  case 1:
  case 2: tool_writes(); return 0;
  case 3: put_away(); return 0;
  case 4: put_back(); return 0;
  case 5: return begin_anew(1 + (int)random_below(3000));
  default: return 0;
  }
}

/* ---- ours ---- */

static bool ours_facts(hdb *db, const char *as_of, facts *out) {
  hdb_stmt *q = NULL;
  char sql[400];
  snprintf(sql, sizeof sql, facts_sql, as_of, as_of);
  bool got = hdb_prepare(db, sql, -1, 0, &q, NULL) == HDB_OK && hdb_step(q) == HDB_ROW;
  if (got) *out = (facts){hdb_column_int64(q, 0), hdb_column_int64(q, 1), hdb_column_int64(q, 2), hdb_column_int64(q, 3)};
  else complain(sql, hdb_errmsg(db));
  hdb_finalize(q);
  return got;
}

static bool rests; /* the child commits a little, then waits for its end */

static int work(int cut_at) {
  hdb *db = NULL;
  facts now;
  if (cut_at) kv_fault_track(true);
  if (cut_at && random_below(2)) kv_fault_power_cut_at(cut_at);
  if (hdb_open(path, &db, HDB_OPEN_READWRITE) == HDB_OK && ours_facts(db, "", &now)) {
    if (cut_at) kv_fault_power_cut_at(cut_at);
    shared->ready = 1;
    for (int64_t i = now.highest + 1; !cut_at || !kv_fault_power_is_cut(); i++) {
      char sql[300];
      snprintf(sql, sizeof sql, "BEGIN; INSERT INTO a(i, pad) VALUES(%" PRId64 ", hex(randomblob(20))); UPDATE a SET pad = 'p' || i WHERE i = %" PRId64 "; COMMIT", i,
               1 + (int64_t)random_below((unsigned)i));
      if (hdb_exec(db, sql, NULL, NULL, NULL) != HDB_OK) break;
      shared->acknowledged = i;
      shared->commits++;
      if (rests && i >= now.highest + 5) pause(); /* the background writes the file, a second later */
      if (random_below(12) == 0) hdb_checkpoint(db);
      if (random_below(40) == 0) {
        hdb_close(db);
        if (hdb_open(path, &db, HDB_OPEN_READWRITE) != HDB_OK) break;
      }
    }
  }
  hdb_close(db);
  if (cut_at) kv_fault_power_back((uint64_t)cut_at);
  return 0;
}

/* Is the file as its stamp's transaction left it? */
static bool untouched(sqlite3 *s) {
  uint8_t head[28];
  int fd = open(path, O_RDONLY);
  bool read_it = fd >= 0 && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head;
  if (fd >= 0) close(fd);
  int64_t counter = read_it ? (int64_t)head[24] << 24 | head[25] << 16 | head[26] << 8 | head[27] : -2;
  return counter == stock_number(s, "SELECT counter FROM _heliosdb") && head[18] == 1;
}

static bool same(const facts *a, const facts *b) { return memcmp(a, b, sizeof *a) == 0; }

static bool check_main(hdb *db, facts *now) {
  char words[200];
  hdb_stmt *q = NULL;
  bool good = true;
  if (!ours_facts(db, "", now)) return false;
  if (now->rows != now->highest || now->highest < shared->acknowledged || now->highest > shared->acknowledged + 1 || now->tools != shared->tools ||
      now->notes != shared->tools) {
    snprintf(words, sizeof words, "%" PRId64 " rows to %" PRId64 " with %" PRId64 " acknowledged; %" PRId64 " notes, %" PRId64 " of %" PRId64 " of the tool's", now->rows,
             now->highest, shared->acknowledged, now->notes, now->tools, shared->tools);
    good = complain("wrong rows", words);
  }
  if (hdb_prepare(db, "PRAGMA integrity_check", -1, 0, &q, NULL) != HDB_OK || hdb_step(q) != HDB_ROW || strcmp(hdb_column_text(q, 0), "ok") != 0)
    good = complain("integrity_check", q ? hdb_column_text(q, 0) : hdb_errmsg(db));
  hdb_finalize(q);
  shared->acknowledged = now->highest;
  return good;
}

static int verify(int unused) {
  facts file, then, now;
  char text[200] = "", as_of[60];
  bool good = true;
  sqlite3 *s = stock_open();
  if (!stock_text(s, "PRAGMA integrity_check", text, sizeof text) || strcmp(text, "ok") != 0) good = complain("stock's integrity_check", *text ? text : sqlite3_errmsg(s));
  int64_t stamp = stock_number(s, "SELECT time FROM _heliosdb");
  bool comparable = stamp > 0 && stock_facts(s, &file) && untouched(s);
  sqlite3_close(s);
  hdb *db = NULL;
  if (hdb_open(path, &db, HDB_OPEN_READWRITE) != HDB_OK) {
    complain("cannot open", hdb_errmsg(db));
    hdb_close(db);
    return 1;
  }
  snprintf(as_of, sizeof as_of, " AS OF SCN %" PRId64, stamp);
  if (comparable && (!ours_facts(db, as_of, &then) || !same(&file, &then))) good = complain("app.db is not main", as_of);
  if (!check_main(db, &now)) good = false;
  hdb_close(db);
  s = stock_open();
  if (!stock_facts(s, &file) || !same(&file, &now)) good = complain("after the close", "app.db differs");
  sqlite3_close(s);
  return !good;
}

/* ---- rounds ---- */

static int in_child(int (*f)(int), int argument) {
  int state = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    int rc = f(argument);
    fflush(stdout);
    _exit(rc);
  }
  waitpid(child, &state, 0);
  return WIFEXITED(state) ? WEXITSTATUS(state) : 100;
}

static void crash_by_kill(void) {
  shared->ready = 0;
  rests = random_below(10) == 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(work(0));
  if (random_below(2)) /* else the moment may lie before it is open */
    while (!shared->ready && waitpid(child, NULL, WNOHANG) == 0) usleep(200);
  if (rests) usleep(1000000 + random_below(60000));
  else usleep(random_below(150000)); /* the moment of the crash, not a wait for something */
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: sim_mirror kill|power ROUNDS [SEED]\n");
    return 2;
  }
  bool power = strcmp(argv[1], "power") == 0;
  int rounds = atoi(argv[2]), failed = 0;
  seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
  char folder[] = "/tmp/helios-crash-XXXXXX";
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/app.db", folder);
  snprintf(copy, sizeof copy, "%s/copy.db", folder);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || in_child(begin_anew, 500) != 0) return 2;
  for (round_number = 0; round_number < rounds; round_number++) {
    random_below(2);
    if (in_child(happen, (int)random_below(9)) != 0) failed++;
    random_below(2);
    if (power) in_child(work, 20 + (int)random_below(400));
    else crash_by_kill();
    int bad = in_child(verify, 0) != 0;
    if (bad) in_child(begin_anew, 500); /* so that one failure is counted once */
    failed += bad;
  }
  nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  printf("mirror %s: %d crashes, %lld commits, %lld changes by tools, %lld restores, %lld files taken in: %d passed, %d failed\n", argv[1], rounds,
         (long long)shared->commits, (long long)shared->merges, (long long)shared->restores, (long long)shared->imports, rounds - failed, failed);
  return failed || shared->commits == 0;
}
