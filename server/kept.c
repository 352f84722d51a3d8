/* Statements that are kept when their client lets go of them, for the next one of the same text.
 *
 * K1  A statement is in use (session.statements) or kept (session.kept), never both: taking one takes it out of the
 *     list, dropping it puts it back. So a kept one has no portal and runs nothing.
 * K2  What is taken fits the schema of this moment (hdb_stmt_fits); one that does not is thrown away. What else changes
 *     the meaning of a text (settings, pragmas, branches) throws all of them away: session.kept_stale.
 * K3  Only SELECT, INSERT, UPDATE and DELETE of one engine text are kept, at most KEPT_MAX, the latest used first (one takes
 *     some 50 kB); with many connections at most KEPT_MANY, and none in a session that its worker leaves (N5).
 * K4  A simple query is compiled for keeping when its text, or its shape (sql/shape.h), comes for the second time: texts
 *     that never come again leave nothing behind. A shape's parameters must come out as integers, and its plan must be
 *     that of the text as it came. Whatever is wrong with a text is found, and said, by the plain way.
 */
#include <stdlib.h>

#include "server/session.h"
#include "sql/shape.h"

enum { KEPT_MAX = 16, KEPT_MANY = 8, MANY_CONNECTIONS = 100, TEXT_MAX = 4000, SEEN = 32 };

struct kept {
  prepared *first;
  int n;
  uint64_t seen[SEEN], refused[SEEN]; /* hashes of texts and shapes, rings */
  unsigned seen_n, refused_n;
  buf shape;
};

static uint64_t hash_of(slice text, uint64_t h) {
  const uint8_t *p = text.p;
  size_t n = text.n;
  uint64_t eight;
  for (; n >= 8; p += 8, n -= 8) {
    memcpy(&eight, p, 8);
    h = (h ^ eight) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  for (; n; p++, n--) h = (h ^ *p) * 0x100000001b3ull;
  return (h ^ h >> 31) | 1;
}

static bool in_ring(const uint64_t *ring, uint64_t hash) {
  for (int i = 0; i < SEEN; i++)
    if (ring[i] == hash) return true;
  return false;
}

static struct kept *kept_of(session *s) {
  if (!s->kept) s->kept = calloc(1, sizeof *s->kept);
  if (s->kept && s->kept_stale) {
    kept_clear(s);
    memset(s->kept->refused, 0, sizeof s->kept->refused);
  }
  s->kept_stale = false;
  return s->kept;
}

static void free_last(struct kept *k) {
  prepared **at = &k->first;
  while ((*at)->next) at = &(*at)->next;
  prepared_free(*at);
  *at = NULL;
  k->n--;
}

void kept_clear(session *s) {
  while (s->kept && s->kept->n) free_last(s->kept);
}

void kept_free(session *s) {
  kept_clear(s);
  if (s->kept) buf_free(&s->kept->shape);
  free(s->kept);
  s->kept = NULL;
}

static bool many_connections(const session *s) { return atomic_load_explicit(&s->server->connections_n, memory_order_relaxed) > MANY_CONNECTIONS; }

void kept_trim(session *s) {
  if (s->kept && many_connections(s)) kept_free(s);
}

bool kept_tag(const translation *t) {
  static const char *const tags[] = {"SELECT", "INSERT 0", "UPDATE", "DELETE"};
  for (int i = 0; i < 4; i++)
    if (t->class == CLASS_SQL && t->tag && strcmp(t->tag, tags[i]) == 0) return true;
  return false;
}

bool kept_put(session *s, prepared *p) {
  struct kept *k = s->kept;
  if (!p->hash || p->lent || s->kept_stale || !k) return false;
  if (p->by_sql || !p->statement || p->t.texts_n != 1 || !kept_tag(&p->t)) return false;
  free(p->name);
  p->name = NULL;
  p->next = k->first;
  k->first = p;
  if (++k->n > (many_connections(s) ? KEPT_MANY : KEPT_MAX)) free_last(k);
  return true;
}

/* The kept statement of this text and these types, in use from now on; NULL: there is none. */
static prepared *take(session *s, slice text, const uint32_t *types, int types_n, uint64_t hash) {
  struct kept *k = s->kept;
  for (prepared **at = &k->first; *at; at = &(*at)->next) {
    prepared *p = *at;
    if (p->hash != hash || p->given_n != types_n || p->sql_n != text.n || memcmp(p->sql, text.p, text.n) != 0) continue;
    if (types_n && memcmp(p->given, types, (size_t)types_n * sizeof *types) != 0) continue;
    *at = p->next;
    k->n--;
    if (!hdb_stmt_fits(p->statement)) { /* K2 */
      prepared_free(p);
      return NULL;
    }
    p->next = s->statements;
    s->statements = p;
    return p;
  }
  return NULL;
}

/* So that it can be kept when it is dropped. */
static void mark(prepared *p, uint64_t hash, const uint32_t *types, int types_n) {
  p->given = types_n ? arena_copy(&p->memory, types, (size_t)types_n * sizeof *types) : NULL;
  p->given_n = types_n;
  p->sql_n = strlen(p->sql);
  if (types_n == 0 || p->given) p->hash = hash;
}

status kept_prepare(session *s, const char *name, const char *sql, const uint32_t *types, int types_n, prepared **out) {
  slice text = slice_str(sql);
  struct kept *k = text.n <= TEXT_MAX ? kept_of(s) : NULL;
  uint64_t hash = k ? hash_of(text, (uint64_t)types_n) : 0;
  char *copy = k && s->block != BLOCK_FAILED ? strdup(name) : NULL;
  prepared *p = copy ? take(s, text, types, types_n, hash) : NULL;
  if (p) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    p->made_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    p->name = copy;
    *out = p;
    return HDB_OK;
  }
  free(copy);
  TRY(prepare_statement(s, name, sql, slice_of(NULL, 0), types, types_n, out));
  if (k) mark(*out, hash, types, types_n);
  return HDB_OK;
}

/* ---- simple queries ---- */

/* A new statement of this text for keeping, hidden; NULL: it is none of those, or something is wrong with it. */
static prepared *make(session *s, const char *sql, uint64_t hash) {
  prepared *p = NULL;
  if (prepare_statement(s, NULL, sql, slice_of(NULL, 0), NULL, 0, &p) != HDB_OK) {
    error_clear(&s->err);
    failure_clear(s);
    return NULL;
  }
  if (p->statement && p->t.texts_n == 1 && kept_tag(&p->t) && !p->t.notice) {
    mark(p, hash, NULL, 0);
    return p;
  }
  prepared_drop(s, p);
  return NULL;
}

static bool plan_text(session *s, const char *sql, buf *out) {
  buf text = BUF_INIT;
  hdb_stmt *plan = NULL;
  const char *tail;
  int rc;
  buf_printf(&text, "EXPLAIN QUERY PLAN %s", sql);
  if (!buf_cstr(&text) || hdb_prepare(s->db, buf_cstr(&text), -1, 0, &plan, &tail) != HDB_OK || !plan) {
    buf_free(&text);
    return false;
  }
  while ((rc = hdb_step(plan)) == HDB_ROW) {
    const char *line = hdb_column_text(plan, 3);
    buf_printf(out, "%s\n", line ? line : "");
  }
  hdb_finalize(plan);
  buf_free(&text);
  return rc == HDB_DONE && !out->failed;
}

/* K4 */
static bool shape_serves(session *s, const prepared *p, const char *sql, int n) {
  if (p->d.parameters_n != n || p->t.locks || shape_needs_values(s->db, p->sql)) return false;
  for (int i = 0; i < n; i++)
    if (p->d.parameters[i] != PG_INT2 && p->d.parameters[i] != PG_INT4 && p->d.parameters[i] != PG_INT8) return false;
  prepared *plain = make(s, sql, 0);
  buf a = BUF_INIT, b = BUF_INIT;
  bool same = plain && plan_text(s, p->t.texts[0], &a) && plan_text(s, plain->t.texts[0], &b) && a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
  buf_free(&a);
  buf_free(&b);
  if (plain) prepared_drop(s, plain);
  return same;
}

static prepared *by_shape(session *s, struct kept *k, const char *sql, int64_t *values, int *n, uint64_t *hash) {
  if (!shape_of(slice_str(sql), &k->shape, values, n)) return NULL;
  slice shape = buf_slice(&k->shape);
  *hash = hash_of(shape, 77);
  prepared *p = take(s, shape, NULL, 0, *hash);
  if (p || !in_ring(k->seen, *hash) || in_ring(k->refused, *hash)) return p;
  p = make(s, buf_cstr(&k->shape), *hash);
  if (p && shape_serves(s, p, sql, *n)) return p;
  if (p) {
    p->hash = 0;
    prepared_drop(s, p);
  }
  k->refused[k->refused_n++ % SEEN] = *hash;
  return NULL;
}

prepared *kept_simple(session *s, const char *sql, int64_t *values, int *n) {
  slice text = slice_str(sql);
  struct kept *k = text.n && text.n <= TEXT_MAX && s->block != BLOCK_FAILED ? kept_of(s) : NULL;
  if (!k) return NULL;
  *n = 0;
  uint64_t exact = hash_of(text, 0), shape = 0;
  prepared *p = take(s, text, NULL, 0, exact);
  if (!p) p = by_shape(s, k, sql, values, n, &shape);
  if (!p) *n = 0;
  if (!p && in_ring(k->seen, exact)) p = make(s, sql, exact);
  if (p && p->d.parameters_n == *n) return p;
  if (p) prepared_drop(s, p);
  if (!shape || in_ring(k->refused, shape)) {
    if (!in_ring(k->seen, exact)) k->seen[k->seen_n++ % SEEN] = exact;
  } else if (!in_ring(k->seen, shape)) {
    k->seen[k->seen_n++ % SEEN] = shape;
  }
  return NULL;
}
