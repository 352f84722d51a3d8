/* json_each(json [, path]) and json_tree(json [, path]) as tables, over the walk of json_walk.c.
 * Without a document there are no rows. Values of a row lie in the cursor's arena, rewound with each row.
 */
#include <stdlib.h>

#include "sql/internal.h"
#include "sql/json.h"
#include "sql/virtual.h"

typedef struct json_cursor {
  json_walk *walk; /* used again by each filter */
  value json, root;
  arena kept, row;
  bool recursive, at_end;
} json_cursor;

enum { COLUMN_JSON = JSON_PATH + 1, COLUMN_ROOT };
static const virtual_column columns[] = {{"key", "", false},    {"value", "", false},   {"type", "", false}, {"atom", "", false},
                                         {"id", "", false},     {"parent", "", false},  {"fullkey", "", false}, {"path", "", false},
                                         {"json", "", true},    {"root", "", true}};

static status json_open(exec *x, const table *t, void **cursor) {
  json_cursor *c = calloc(1, sizeof *c);
  *cursor = c;
  if (c) c->walk = json_walk_new();
  if (!c || !c->walk) {
    free(c);
    *cursor = NULL;
    return error_set(x->err, HDB_NOMEM, "out of memory");
  }
  c->recursive = t->module == &virtual_json_tree;
  return HDB_OK;
}

static status step(exec *x, json_cursor *c) {
  status rc = json_walk_next(c->walk);
  c->at_end = rc != HDB_ROW;
  if (rc == HDB_ROW || rc == HDB_DONE) return HDB_OK;
  return error_set(x->err, HDB_ERROR, "malformed JSON");
}

static status json_filter(exec *x, void *cursor, int number, const char *text, uint64_t given, const value *arguments, int n) {
  json_cursor *c = cursor;
  bool rows = false;
  c->at_end = true;
  arena_rewind(&c->kept, (arena_mark){0});
  arena_rewind(&c->row, (arena_mark){0});
  c->json = value_null();
  c->root = value_text("$", 1);
  if (!(given & 1)) return HDB_OK;
  if (value_copy(&c->kept, &arguments[0], &c->json) != HDB_OK) return error_set(x->err, HDB_NOMEM, "out of memory");
  if ((given & 2) && value_copy(&c->kept, &arguments[1], &c->root) != HDB_OK) return error_set(x->err, HDB_NOMEM, "out of memory");
  if (c->json.type == VAL_NULL || c->root.type == VAL_NULL) return HDB_OK;
  function_call call = {.db = x->db, .memory = &c->kept, .err = x->err, .exec = x};
  TRY(json_walk_restart(&call, c->walk, &c->json, given & 2 ? &c->root : NULL, c->recursive, &rows));
  return rows ? step(x, c) : HDB_OK;
}

static bool json_at_end(void *cursor) { return ((json_cursor *)cursor)->at_end; }

static status json_next(exec *x, void *cursor) {
  json_cursor *c = cursor;
  arena_rewind(&c->row, (arena_mark){0});
  return step(x, c);
}

static status json_column(exec *x, void *cursor, int column, value *out) {
  json_cursor *c = cursor;
  if (column >= COLUMN_JSON) {
    *out = column == COLUMN_JSON ? c->json : c->root;
    return HDB_OK;
  }
  function_call call = {.db = x->db, .memory = &c->row, .err = x->err, .exec = x};
  return json_walk_column(&call, c->walk, (enum json_column)column, out);
}

static int64_t json_rowid(void *cursor) { return json_walk_rowid(((json_cursor *)cursor)->walk); }

static void json_close(void *cursor) {
  json_cursor *c = cursor;
  json_walk_close(c->walk);
  arena_clear(&c->kept);
  arena_clear(&c->row);
  free(c);
}

const virtual_module virtual_json_each = {"json_each", columns,     COUNT(columns), NULL,        json_open, json_filter,
                                          json_at_end, json_next, json_column,    json_rowid, json_close};
const virtual_module virtual_json_tree = {"json_tree", columns,     COUNT(columns), NULL,        json_open, json_filter,
                                          json_at_end, json_next, json_column,    json_rowid, json_close};
