/* The registry of functions, and what the function files share.
 *
 * Builtin functions lie in tables, one a file; the first lookup makes an open-addressed hash of their names, read-only
 * from then on. A connection's own functions are asked first (func_user.c). The best match has the exact argument
 * count, then -1 (any). Lookup happens at compile time only.
 */
#include "sql/func.h"
#include "sql/vector.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "sql/func_user.h"
#include "sql/internal.h"

/* ---- results ---- */

int64_t function_limit(const function_call *call, int id) {
  if (call->db) return call->db->limits[id];
  return id == HDB_LIMIT_LIKE_PATTERN_LENGTH ? 50000 : 1000000000;
}

status function_nomem(function_call *call) { return error_set(call->err, HDB_NOMEM, "out of memory"); }

status function_too_big(function_call *call) { return error_set(call->err, HDB_TOOBIG, "string or blob too big"); }

char *function_room(function_call *call, int64_t n) {
  if (n > function_limit(call, HDB_LIMIT_LENGTH)) {
    function_too_big(call);
    return NULL;
  }
  char *p = arena_alloc(call->memory, (size_t)n + 1);
  if (!p) {
    function_nomem(call);
    return NULL;
  }
  p[n] = 0;
  return p;
}

status function_result_text(function_call *call, const void *p, size_t n, value *result) {
  char *q = function_room(call, (int64_t)n);
  if (!q) return call->err ? call->err->code : HDB_NOMEM;
  if (n) memcpy(q, p, n);
  *result = value_text(q, n);
  return HDB_OK;
}

status function_result_buf(function_call *call, buf *b, uint8_t type, value *result) {
  status rc = b->failed ? function_nomem(call) : function_result_text(call, b->p, b->n, result);
  if (rc == HDB_OK) result->type = type;
  buf_free(b);
  return rc;
}

value function_numeric(const value *v) {
  if (v->type != VAL_TEXT) return *v;
  int64_t i;
  double r;
  int kind = text_to_number(v->p, v->n, &i, &r);
  return kind == 1 ? value_int(i) : kind == 2 ? value_real(r) : *v;
}

/* ---- clock and chance ---- */

static int64_t clock_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return 210866760000000 + (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One moment for a statement and the triggers that it fires. */
int64_t function_now_ms(function_call *call) {
  exec *x = call->exec;
  if (!x) return clock_now_ms();
  while (x->parent) x = x->parent;
  if (x->now_ms == 0) x->now_ms = clock_now_ms();
  return x->now_ms;
}

static inline uint64_t rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }

/* xoshiro256**, seeded by the kernel once a connection. */
uint64_t function_random(function_call *call) {
  static _Thread_local uint64_t own[4];
  uint64_t *s = call->db ? call->db->random_state : own;
  if (!(s[0] | s[1] | s[2] | s[3]) && getrandom(s, 4 * sizeof *s, 0) != 4 * sizeof *s)
    s[0] = (uint64_t)time(NULL), s[1] = (uint64_t)(uintptr_t)s, s[2] = 0x9e3779b97f4a7c15;
  uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

/* ---- registry ---- */

static const function_table *const tables[] = {&functions_core, &functions_math, &functions_date, &functions_json, &functions_aggregate, &functions_vector, &functions_fts};
enum { HASH_SIZE = 1024 };
static const function *hash[HASH_SIZE];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static uint32_t hash_name(const char *name) {
  uint32_t h = 2166136261u;
  for (; *name; name++) h = (h ^ ascii_lower((unsigned char)*name)) * 16777619u;
  return h;
}

static void hash_build(void) {
  for (int t = 0; t < COUNT(tables); t++)
    for (int i = 0; i < tables[t]->n; i++) {
      const function *f = &tables[t]->functions[i];
      uint32_t h = hash_name(f->name);
      while (hash[h % HASH_SIZE]) h++;
      hash[h % HASH_SIZE] = f;
    }
}

static bool accepts(const function *f, int n) {
  return f->arguments == n || (f->arguments < 0 && n >= f->min_arguments);
}

/* The postgres dialect's own; in `sqlite` only those a view's text may hold (func_pg.c). */
static const function *postgres_find(const hdb *db, const char *name, int arguments, bool *exists) {
  bool all = db && db->pragmas.dialect == DIALECT_POSTGRES;
  if (!all && strncasecmp(name, "pg_", 3) != 0) return NULL;
  static const function_table *const own[] = {&functions_pg, &functions_pg_catalog, &functions_pg_text, &functions_pg_zone, &functions_pg_number, &functions_pg_json, &functions_pg_enum};
  for (int t = 0; t < COUNT(own); t++)
    for (int i = 0; i < own[t]->n; i++) {
      const function *f = &own[t]->functions[i];
      if (strcasecmp(f->name, name) != 0) continue;
      *exists = true;
      if (accepts(f, arguments)) return f;
    }
  return NULL;
}

const function *function_find(hdb *db, const char *name, int arguments, bool *name_exists) {
  bool exists = false;
  const function *f = db ? user_function_find(db, name, arguments, &exists) : NULL; /* wins, whatever its count */
  bool deleted = f && !f->scalar && !f->step; /* hides the builtin one */
  if (!f) f = postgres_find(db, name, arguments, &exists);
  if (!f || deleted) {
    const function *any = NULL;
    f = NULL;
    pthread_once(&hash_once, hash_build);
    for (uint32_t h = hash_name(name); hash[h % HASH_SIZE] && !f; h++) {
      const function *candidate = hash[h % HASH_SIZE];
      if (strcasecmp(candidate->name, name) != 0) continue;
      exists = true;
      if (deleted || !accepts(candidate, arguments)) continue;
      if (candidate->arguments >= 0) f = candidate;
      else any = candidate;
    }
    if (!f) f = any;
  }
  if (name_exists) *name_exists = exists;
  return f;
}

void function_each(hdb *db, void (*visit)(void *, const function *), void *context) {
  if (db) user_function_each(db, visit, context);
  for (int t = 0; t < COUNT(tables); t++)
    for (int i = 0; i < tables[t]->n; i++) visit(context, &tables[t]->functions[i]);
}
