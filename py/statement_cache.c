/* statement_cache.c: the statements of a connection by their SQL text.
 *
 * A hash table chained through the statements, and a list from newest to oldest use. Invariants:
 *   I1 every cached statement is in exactly one bucket and once in the list; the cache holds one reference;
 *   I2 count <= capacity, and text_bytes <= TEXT_BYTES_MAX unless count is 1.
 * The same str object (a literal in a loop) is found by one comparison of pointers. A compiled statement is
 * taken to need about eight times its text, so TEXT_BYTES_MAX keeps a connection's cache under 10 MB.
 */
#include "py/objects.h"

enum { TEXT_BYTES_MAX = 1200 * 1024, TEXT_BYTES_EACH = 128 };

void cache_init(cache *c, int capacity) {
  memset(c, 0, sizeof *c);
#if !PY_AT_LEAST(10)
  if (capacity < 5) capacity = 5;
#endif
  c->capacity = capacity < 0 ? 0 : capacity;
}

static statement **bucket_of(cache *c, Py_hash_t hash) { return &c->buckets[(size_t)hash & (c->bucket_count - 1)]; }

static void list_unlink(cache *c, statement *s) {
  *(s->newer ? &s->newer->older : &c->newest) = s->older;
  *(s->older ? &s->older->newer : &c->oldest) = s->newer;
  s->newer = s->older = NULL;
}

static void list_push(cache *c, statement *s) {
  s->older = c->newest;
  *(c->newest ? &c->newest->newer : &c->oldest) = s;
  c->newest = s;
}

static int64_t cost(const statement *s) { return s->text_bytes + TEXT_BYTES_EACH; }

static void drop(cache *c, statement *s) {
  statement **p = bucket_of(c, s->hash);
  while (*p != s) p = &(*p)->bucket_next;
  *p = s->bucket_next;
  s->bucket_next = NULL;
  list_unlink(c, s);
  c->count--;
  c->text_bytes -= cost(s);
  s->cached = false;
  Py_DECREF(s);
}

static int grow(cache *c) {
  size_t wanted = c->bucket_count ? c->bucket_count * 2 : 16;
  statement **old = c->buckets, **buckets = PyMem_Calloc(wanted, sizeof *buckets);
  if (!buckets) {
    PyErr_NoMemory();
    return -1;
  }
  c->buckets = buckets;
  c->bucket_count = wanted;
  for (statement *s = c->newest; s; s = s->older) {
    statement **p = bucket_of(c, s->hash);
    s->bucket_next = *p;
    *p = s;
  }
  PyMem_Free(old);
  return 0;
}

static bool same_text(PyObject *a, PyObject *b) {
  Py_ssize_t length = PyUnicode_GET_LENGTH(a);
  return length == PyUnicode_GET_LENGTH(b) && PyUnicode_KIND(a) == PyUnicode_KIND(b) &&
         !memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * (size_t)PyUnicode_KIND(a));
}

statement *cache_find(cache *c, PyObject *sql, Py_hash_t hash) {
  if (!c->count) return NULL;
  statement *s = c->newest;
  if (s->sql == sql) return s;
  for (s = *bucket_of(c, hash); s; s = s->bucket_next) {
    if (s->sql == sql || (s->hash == hash && same_text(s->sql, sql))) {
      list_unlink(c, s);
      list_push(c, s);
      return s;
    }
  }
  return NULL;
}

int cache_add(cache *c, statement *s) {
  if (!c->capacity) return 0;
  if ((size_t)c->count >= c->bucket_count && grow(c) < 0) return -1;
  while (c->count && (c->count >= c->capacity || c->text_bytes + cost(s) > TEXT_BYTES_MAX)) drop(c, c->oldest);
  statement **p = bucket_of(c, s->hash);
  s->bucket_next = *p;
  *p = s;
  list_push(c, s);
  c->count++;
  c->text_bytes += cost(s);
  s->cached = true;
  Py_INCREF(s);
  return 0;
}

void cache_clear(cache *c) {
  while (c->newest) drop(c, c->newest);
  PyMem_Free(c->buckets);
  c->buckets = NULL;
  c->bucket_count = 0;
}
