/* The rows of json_each and json_tree: a walk over JSONB.
 *
 * `at` is the current element: its label's offset inside of an object, else its own. Containers that the walk is
 * inside of form a stack; json_each stays in one, json_tree enters each as it comes by. `id` is the element's
 * offset in the JSONB, as in SQLite. The walk keeps a copy of the document, so that nothing of the caller's must
 * live on.
 * What can fail: a damaged blob ("malformed JSON"), memory. Cost: a header a row; fullkey and path are built on
 * request from the path text that the walk extends and cuts as it enters and leaves.
 */
#include <stdlib.h>

#include "sql/json.h"

typedef struct level {
  size_t at, value, end; /* element's offset (label), container's own, its end */
  int64_t index;         /* of the current element, from 0 */
  size_t path_n;         /* the path's length before this container was entered */
  uint8_t kind;
} level;

struct json_walk {
  buf document, path, levels;
  size_t at, end;
  size_t root_n;       /* of the path that was asked for */
  bool root_has_label; /* the root is a member of an object: at is its label */
  bool recursive, started;
  int64_t rowid;
};

static level *levels(json_walk *w) { return (level *)(void *)w->levels.p; }
static size_t depth(const json_walk *w) { return w->levels.n / sizeof(level); }
static level *top(json_walk *w) { return depth(w) ? levels(w) + depth(w) - 1 : NULL; }
static slice document(const json_walk *w) { return buf_slice(&w->document); }

static bool in_object(json_walk *w) { return depth(w) ? top(w)->kind == JSON_OBJECT : w->root_has_label; }

/* The current element's value, label skipped. */
static bool current(json_walk *w, json_node *v) {
  size_t at = w->at;
  if (in_object(w)) {
    if (!json_node_read(document(w), at, w->document.n, v)) return false;
    at = json_node_end(v);
  }
  return json_node_read(document(w), at, w->document.n, v);
}

static void enter(json_walk *w, const json_node *container) {
  level l = {w->at, container->at, json_node_end(container), 0, w->path.n, container->kind};
  buf_append(&w->levels, &l, sizeof l);
  w->at = container->start;
}

/* The last step of the current element's full key: [index], .label or ."label". */
static bool put_step(json_walk *w, buf *out) {
  if (!in_object(w)) {
    buf_printf(out, "[%lld]", (long long)(depth(w) ? top(w)->index : 0));
    return true;
  }
  json_node label;
  if (!json_node_read(document(w), w->at, w->document.n, &label)) return false;
  const uint8_t *p = w->document.p + label.start;
  bool quote = label.n == 0 || !ascii_alpha(p[0]);
  for (size_t i = 1; i < label.n && !quote; i++) quote = !ascii_alpha(p[i]) && !ascii_digit(p[i]);
  buf_text(out, quote ? ".\"" : ".");
  buf_append(out, p, label.n);
  if (quote) buf_byte(out, '"');
  return true;
}

void json_walk_close(json_walk *w) {
  if (!w) return;
  buf_free(&w->document);
  buf_free(&w->path);
  buf_free(&w->levels);
  free(w);
}

static enum json_found find_root(json_walk *w, const char *path, size_t *value_at) {
  enum json_found found = json_lookup(document(w), path, value_at);
  size_t n = strlen(path);
  if (found != JSON_FOUND || n == 0) return found;
  w->at = *value_at;
  if (path[n - 1] == ']') return found;
  /* its parent: the path without the last step */
  json_node label, v;
  size_t parent, cut = n;
  if (path[n - 1] == '"')
    for (cut = n - 1; cut > 0 && path[cut - 1] != '"'; cut--) continue;
  while (cut > 0 && path[cut] != '.') cut--;
  char *before = strndup(path, cut);
  if (!before) return JSON_DAMAGED;
  if (json_lookup(document(w), before, &parent) == JSON_FOUND && json_node_read(document(w), parent, w->document.n, &v)) {
    size_t end = json_node_end(&v);
    for (size_t at = v.start; at < end && json_node_read(document(w), at, end, &label);) {
      if (json_node_end(&label) == *value_at) {
        w->at = at;
        w->root_has_label = true;
        break;
      }
      if (!json_node_read(document(w), json_node_end(&label), end, &label)) break;
      at = json_node_end(&label);
    }
  }
  free(before);
  return found;
}

static status set_root(function_call *call, json_walk *w, const value *path, bool *rows) {
  char *text;
  slice s = slice_of("$", 1);
  if (path) TRY(function_text(call, path, &s));
  if (!s.p) return HDB_OK;
  s = text_until_nul(s);
  text = arena_strndup(call->memory, (const char *)s.p, s.n);
  if (!text) return function_nomem(call);
  size_t at = 0;
  json_node root;
  enum json_found found = text[0] == '$' ? find_root(w, text + 1, &at) : JSON_BAD_PATH;
  status rc = HDB_OK;
  if (found == JSON_FOUND && json_node_read(document(w), at, w->document.n, &root)) {
    buf_append(&w->path, s.p, s.n);
    w->root_n = s.n;
    w->end = json_node_end(&root);
    *rows = true;
    if (!w->recursive && root.kind >= JSON_ARRAY) enter(w, &root);
  } else if (found == JSON_BAD_PATH) {
    buf b = BUF_INIT;
    value v = value_text(text, s.n);
    value_quote(&v, &b);
    rc = error_set(call->err, HDB_ERROR, "bad JSON path: %s", buf_cstr(&b));
    buf_free(&b);
  } else if (found != JSON_NOT_FOUND) {
    rc = error_set(call->err, HDB_ERROR, "malformed JSON");
  }
  return rc;
}

status json_walk_restart(function_call *call, json_walk *w, const value *json, const value *path, bool recursive, bool *rows) {
  json_document d;
  *rows = false;
  buf_clear(&w->document);
  buf_clear(&w->path);
  buf_clear(&w->levels);
  w->at = w->end = w->root_n = 0;
  w->root_has_label = w->started = false;
  w->rowid = 0;
  w->recursive = recursive;
  status rc = json_document_read(call, json, &d);
  if (rc == HDB_OK) buf_append(&w->document, d.blob.p, d.blob.n);
  if (rc == HDB_OK) rc = w->document.failed ? function_nomem(call) : set_root(call, w, path, rows);
  if (rc == HDB_OK && (w->path.failed || w->levels.failed)) rc = function_nomem(call);
  buf_free(&d.own);
  return rc;
}

json_walk *json_walk_new(void) { return calloc(1, sizeof(json_walk)); }

status json_walk_open(function_call *call, const value *json, const value *path, bool recursive, json_walk **out) {
  json_walk *w = json_walk_new();
  bool rows = false;
  status rc = w ? json_walk_restart(call, w, json, path, recursive, &rows) : function_nomem(call);
  *out = rc == HDB_OK && rows ? w : NULL;
  if (!*out) json_walk_close(w);
  return rc;
}

static bool advance(json_walk *w) {
  json_node v;
  if (!current(w, &v)) return false;
  if (w->recursive && v.kind >= JSON_ARRAY) {
    if (depth(w) > JSON_DEPTH_MAX) return false;
    size_t path_n = w->path.n;
    if (depth(w) && !put_step(w, &w->path)) return false;
    enter(w, &v);
    if (w->levels.failed || w->path.failed) return false;
    top(w)->path_n = path_n;
  } else {
    w->at = json_node_end(&v);
    if (depth(w)) top(w)->index++;
  }
  while (w->recursive && depth(w) && w->at >= top(w)->end) {
    w->path.n = top(w)->path_n;
    w->levels.n -= sizeof(level);
    if (depth(w)) top(w)->index++;
  }
  return true;
}

status json_walk_next(json_walk *w) {
  if (w->started) {
    if (!advance(w)) return HDB_CORRUPT;
    w->rowid++;
  }
  w->started = true;
  return w->at < w->end ? HDB_ROW : HDB_DONE;
}

int64_t json_walk_rowid(const json_walk *w) { return w->rowid; }

/* The path asked for without its last step: where the root of json_tree hangs. */
static size_t parent_path_n(const json_walk *w) {
  const char *p = (const char *)w->path.p;
  size_t n = w->root_n;
  if (n < 2) return n;
  if (p[n - 1] == '"') {
    for (n--; n > 1 && p[n - 1] != '"'; n--) continue;
    return n >= 2 ? n - 2 : 0; /* the ." in front of it */
  }
  for (n--; n > 1 && p[n] != '[' && p[n] != '.'; n--) continue;
  return n;
}

static status root_key(function_call *call, json_walk *w, value *result) {
  if (!w->recursive || w->root_n < 2) return HDB_OK; /* NULL */
  size_t from = parent_path_n(w), n = w->root_n - from;
  const char *p = (const char *)w->path.p + from;
  int64_t i;
  if (n < 2) return HDB_OK;
  if (p[0] == '[') {
    text_to_int(p + 1, n - 1, &i);
    *result = value_int(i);
    return HDB_OK;
  }
  if (p[1] == '"') return function_result_text(call, p + 2, n - 3, result);
  return function_result_text(call, p + 1, n - 1, result);
}

static status key(function_call *call, json_walk *w, value *result) {
  if (depth(w) == 0) return root_key(call, w, result);
  if (in_object(w)) return json_node_value(call, document(w), w->at, false, result);
  *result = value_int(top(w)->index);
  return HDB_OK;
}

static status full_key(function_call *call, json_walk *w, value *result) {
  buf b = BUF_INIT;
  buf_append(&b, w->path.p, w->path.n);
  if (depth(w) == 0 || put_step(w, &b)) return function_result_buf(call, &b, VAL_TEXT, result);
  buf_free(&b);
  return error_set(call->err, HDB_ERROR, "malformed JSON");
}

status json_walk_column(function_call *call, json_walk *w, enum json_column column, value *result) {
  json_node v;
  *result = value_null();
  if (!current(w, &v)) return error_set(call->err, HDB_ERROR, "malformed JSON");
  switch (column) {
  case JSON_KEY: return key(call, w, result);
  case JSON_VALUE: return json_node_value(call, document(w), v.at, false, result);
  case JSON_TYPE: *result = value_text(json_type_name(v.kind), strlen(json_type_name(v.kind))); return HDB_OK;
  case JSON_ATOM: return v.kind < JSON_ARRAY ? json_node_value(call, document(w), v.at, false, result) : HDB_OK;
  case JSON_ID: *result = value_int((int64_t)w->at); return HDB_OK;
  case JSON_PARENT:
    if (w->recursive && depth(w)) *result = value_int((int64_t)top(w)->at);
    return HDB_OK;
  case JSON_FULLKEY: return full_key(call, w, result);
  default: {
    bool root = w->recursive && w->rowid == 0;
    return function_result_text(call, w->path.p, root ? parent_path_n(w) : w->path.n, result);
  }
  }
}
