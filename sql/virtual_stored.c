/* heliosdb_stored(family): every key that is stored for main's database, with what it means in words.
 *
 *   family, key, value: as they lie in the store; words: mvcc/inspect.c's text. Without a family, or with NULL: all of them.
 * One moment's state of what is committed. What can fail: an unknown family; reading.
 */
#include <stdlib.h>

#include "sql/internal.h"
#include "sql/virtual.h"

enum { FAMILY, KEY, VALUE, WORDS, WANTED };
static const virtual_column columns[] = {{"family", "TEXT", false}, {"key", "BLOB", false}, {"value", "BLOB", false}, {"words", "TEXT", false}, {"wanted", "TEXT", true}};

typedef struct stored_cursor {
  stored *s;
  bool there;
} stored_cursor;

static status failed(exec *x, status rc) { return rc == HDB_OK ? rc : error_set(x->err, rc, "%s", status_text(rc)); }

static status stored_cursor_open(exec *x, const table *t, void **cursor) {
  (void)t;
  *cursor = calloc(1, sizeof(stored_cursor));
  return *cursor ? HDB_OK : error_set(x->err, HDB_NOMEM, "out of memory");
}

static status stored_cursor_next(exec *x, void *cursor) {
  stored_cursor *c = cursor;
  return failed(x, stored_next(c->s, &c->there));
}

static status stored_cursor_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  stored_cursor *c = cursor;
  int family = -1;
  (void)number, (void)text, (void)given;
  stored_close(c->s);
  c->s = NULL;
  for (int i = 0; i < n; i++) {
    slice name = {0, 0};
    char word[16] = "";
    if (arguments[i].type == VAL_NULL) continue;
    TRY(value_to_text(&arguments[i], &x->memory, &name));
    if (name.n < sizeof word) memcpy(word, name.p, name.n);
    family = engine_family(word);
    if (family < 0) return error_set(x->err, HDB_ERROR, "no such family: %.*s (meta, commits, rows, index, versions, branches, hnsw)", (int)name.n, (const char *)name.p);
  }
  TRY(failed(x, stored_open(x->db->databases[DB_MAIN].engine, family, &c->s)));
  return stored_cursor_next(x, c);
}

static bool stored_cursor_at_end(void *cursor) { return !((stored_cursor *)cursor)->there; }

static status stored_cursor_column(exec *x, void *cursor, int column, value *out) {
  const stored_cursor *c = cursor;
  slice s = column == KEY ? stored_key(c->s) : column == VALUE ? stored_value(c->s) : stored_words(c->s);
  (void)x;
  if (column == FAMILY) *out = value_text(stored_family(c->s), strlen(stored_family(c->s)));
  else if (column == WANTED) *out = value_null();
  else *out = column == WORDS ? value_text((const char *)s.p, s.n) : value_blob(s.p, s.n);
  return HDB_OK;
}

static void stored_cursor_close(void *cursor) {
  stored_close(((stored_cursor *)cursor)->s);
  free(cursor);
}

const virtual_module virtual_stored = {.name = "heliosdb_stored",
                                       .columns = columns,
                                       .columns_n = sizeof columns / sizeof *columns,
                                       .open = stored_cursor_open,
                                       .filter = stored_cursor_filter,
                                       .at_end = stored_cursor_at_end,
                                       .next = stored_cursor_next,
                                       .column = stored_cursor_column,
                                       .close = stored_cursor_close};
