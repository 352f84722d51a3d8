/* Operations as SQL, for the engine and for whoever reads a failure. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/model/model.h"

typedef struct text {
  char *p;
  size_t n, at;
} text;

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *format, ...) {
  va_list arguments;
  __builtin_va_start(arguments, format);
  int n = vsnprintf(t->p + t->at, t->n - t->at, format, arguments);
  __builtin_va_end(arguments);
  if (n > 0) t->at += (size_t)n < t->n - t->at ? (size_t)n : t->n - t->at - 1;
}

static const char *number(int16_t v) {
  static char turn[8][16];
  static int at;
  char *out = turn[at = (at + 1) % 8];
  if (v == OP_NIL) return "NULL";
  snprintf(out, sizeof turn[0], "%d", v);
  return out;
}

static void put_where(text *t, const op *o) {
  const shape *h = &shapes[o->table];
  switch (o->where) {
  case W_KEY:
    put(t, " WHERE %s = %d", h->columns[0], o->x);
    if (h->keys_n == 2) put(t, " AND %s = %d", h->columns[1], o->y);
    break;
  case W_RANGE: put(t, " WHERE %s BETWEEN %d AND %d", h->columns[0], o->x, o->y); break;
  case W_V: put(t, " WHERE v = %d", o->x); break;
  case W_U: put(t, " WHERE u = %d", o->x); break;
  case W_MOD: put(t, " WHERE v %% 3 = %d", o->x % 3); break;
  case W_PID: put(t, " WHERE pid = %d", o->x); break;
  case W_SUB:
    if (o->table == TABLE_P) put(t, " WHERE id NOT IN (SELECT pid FROM c WHERE pid IS NOT NULL)");
    else put(t, " WHERE %s IN (SELECT pid FROM c)", h->columns[0]);
    break;
  case W_NULL: put(t, " WHERE v IS NULL"); break;
  default: break;
  }
}

static void put_set(text *t, const op *o) {
  const shape *h = &shapes[o->table];
  switch (o->set) {
  case SET_V: put(t, " SET v = %s", number(o->k)); break;
  case SET_ADD: put(t, " SET v = v + %d", o->k); break;
  case SET_SUM: put(t, " SET v = (SELECT coalesce(sum(v), 0) %% 100 FROM p)"); break;
  case SET_U: put(t, " SET u = %s", number(o->k)); break;
  case SET_KEY: put(t, " SET %s = %d", h->columns[0], o->k); break;
  case SET_PID: put(t, " SET pid = %s", number(o->k)); break;
  case SET_N: put(t, " SET n = n + 1"); break;
  default: put(t, " SET v = %s, n = n + 1", number(o->k));
  }
}

static const char *const or_words[ON_KINDS] = {"", " OR IGNORE", " OR REPLACE", "", "", " OR ROLLBACK"};

static void put_insert(text *t, const op *o) {
  const shape *h = &shapes[o->table];
  const int16_t values[COLUMNS] = {o->x, o->y, o->z, o->w};
  put(t, "INSERT%s INTO %s VALUES(", or_words[o->on], h->name);
  for (int i = 0; i < h->columns_n; i++) put(t, "%s%s", i ? ", " : "", number(values[i]));
  put(t, ")");
  if (o->on == ON_UPSERT) put(t, " ON CONFLICT(%s) DO UPDATE SET v = (v + excluded.v) %% 50", h->keys_n == 2 ? "x, y" : h->columns[0]);
  if (o->on == ON_NOTHING) put(t, " ON CONFLICT DO NOTHING");
}

static void put_select(text *t, const op *o) {
  const char *name = shapes[o->table].name;
  switch (o->show) {
  case SHOW_COUNT: put(t, "SELECT count(*) FROM %s", name); break;
  case SHOW_SUM: put(t, "SELECT count(*), coalesce(sum(v), 0) FROM %s", name); break;
  case SHOW_JOIN: put(t, "SELECT c.x, c.y, p.id, p.v FROM c JOIN p ON p.id = c.pid"); return;
  default: put(t, "SELECT * FROM %s", name);
  }
  put_where(t, o);
  if (o->show == SHOW_ORDER) put(t, " ORDER BY v");
}

static const char *const ddl[] = {"CREATE INDEX IF NOT EXISTS a_v ON a(v)", "DROP INDEX IF EXISTS a_v",
                                  "CREATE INDEX IF NOT EXISTS a_n ON a(n, v)", "DROP INDEX IF EXISTS a_n",
                                  "CREATE TABLE IF NOT EXISTS d(id INTEGER PRIMARY KEY, v INT)", "DROP TABLE IF EXISTS d"};

static void put_transaction(text *t, const op *o) {
  static const char *const modes[] = {"BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "BEGIN CONCURRENT", "BEGIN DEFERRED"};
  static const char *const policies[] = {"last_commit_wins", "first_commit_wins", "serializable"};
  switch (o->kind) {
  case OP_BEGIN: put(t, "%s", modes[o->x]); break;
  case OP_COMMIT: put(t, "COMMIT"); break;
  case OP_ROLLBACK: put(t, "ROLLBACK"); break;
  case OP_SAVE: put(t, "SAVEPOINT s%d", o->x); break;
  case OP_RELEASE: put(t, "RELEASE s%d", o->x); break;
  case OP_BACK: put(t, "ROLLBACK TO s%d", o->x); break;
  case OP_POLICY: put(t, "PRAGMA heliosdb_conflict_policy = %s", policies[o->x]); break;
  case OP_BRANCH: put(t, "CREATE BRANCH b%d (%d %d)", 1 + o->x % 3, o->y, o->z); break;
  case OP_SWITCH: put(t, "USE BRANCH b%d", o->x); break;
  case OP_DROP_BRANCH: put(t, "DROP BRANCH b%d", o->x); break;
  case OP_MERGE: put(t, "MERGE BRANCH b%d INTO b%d (%d)", o->x, o->y, o->z); break;
  default: put(t, "-- %s %d %d %d", op_name(o), o->x, o->y, o->z);
  }
}

void op_sql(const op *o, char *out, size_t n) {
  text t = {out, n, 0};
  *out = 0;
  switch (o->kind) {
  case OP_SELECT: put_select(&t, o); return;
  case OP_INSERT: put_insert(&t, o); break;
  case OP_INSERT_SELECT: put(&t, "INSERT INTO %s(v) SELECT v FROM p WHERE id <= %d", shapes[o->table].name, o->x); break;
  case OP_UPDATE:
    put(&t, "UPDATE%s %s", or_words[o->on], shapes[o->table].name);
    put_set(&t, o);
    put_where(&t, o);
    break;
  case OP_DELETE:
    put(&t, "DELETE FROM %s", shapes[o->table].name);
    put_where(&t, o);
    break;
  case OP_DDL: put(&t, "%s", ddl[o->x]); return;
  default: put_transaction(&t, o); return;
  }
  if (o->returning) put(&t, " RETURNING *");
}

const char *op_name(const op *o) {
  static const char *const names[OP_KINDS] = {"select", "insert", "insert-select", "update", "delete", "ddl", "begin", "commit", "rollback",
                                              "savepoint", "release", "rollback-to", "policy", "past", "versions", "branch", "switch", "merge",
                                              "drop-branch", "reopen", "check", "collect", "crash", "fault"};
  return names[o->kind];
}
