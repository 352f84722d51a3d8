/* Binding parameters, and the text with the parameters written in.
 *
 * B1  A bound value's bytes are the caller's (STATIC), our copy (TRANSIENT), or the caller's with a destructor that
 *     is called once: when the parameter is bound again, cleared, finalized, or the bind itself fails.
 */
#include <stdlib.h>

#include "sql/internal.h"

static void bound_release(struct bound *b) {
  if (b->destroy) b->destroy(b->p);
  b->p = NULL;
  b->destroy = NULL;
}

void bindings_free(hdb_stmt *s) {
  if (s->bounds && s->program)
    for (int i = 0; i < s->program->tree->parameters; i++) bound_release(&s->bounds[i]);
  free(s->bounds);
  free(s->parameters);
  s->bounds = NULL;
  s->parameters = NULL;
}

/* The slot of parameter index, ready to be filled. */
static status parameter(hdb_stmt *s, int index, value **v, struct bound **b) {
  if (!s) return HDB_MISUSE;
  if (s->running) return error_set(&s->db->err, HDB_MISUSE, "bad parameter or other API misuse");
  if (index < 1 || index > s->program->tree->parameters)
    return error_set(&s->db->err, HDB_RANGE, "column index out of range");
  *v = &s->parameters[index - 1];
  *b = &s->bounds[index - 1];
  bound_release(*b);
  **v = value_null();
  return HDB_OK;
}

static int bind_simple(hdb_stmt *s, int index, value v) {
  if (!s) return HDB_MISUSE;
  hdb_lock(s->db);
  value *to;
  struct bound *b;
  status rc = parameter(s, index, &to, &b);
  if (rc == HDB_OK) *to = v;
  int code = hdb_result(s->db, rc);
  hdb_unlock(s->db);
  return code;
}

int hdb_bind_null(hdb_stmt *s, int index) { return bind_simple(s, index, value_null()); }
int hdb_bind_int64(hdb_stmt *s, int index, int64_t v) { return bind_simple(s, index, value_int(v)); }
int hdb_bind_double(hdb_stmt *s, int index, double v) { return bind_simple(s, index, value_real(v)); }

static int bind_bytes(hdb_stmt *s, int index, uint8_t type, const void *p, int64_t bytes, hdb_destructor destroy) {
  if (!p) return bind_simple(s, index, value_null());
  hdb *db = s ? s->db : NULL;
  status rc = s ? HDB_OK : HDB_MISUSE;
  value *to;
  struct bound *b;
  if (s) {
    hdb_lock(db);
    rc = parameter(s, index, &to, &b);
    if (rc == HDB_OK && bytes > db->limits[HDB_LIMIT_LENGTH]) rc = error_set(&db->err, HDB_TOOBIG, "string or blob too big");
  }
  void *owned = (void *)p;
  if (rc == HDB_OK && destroy == HDB_TRANSIENT) {
    owned = malloc((size_t)bytes + 1);
    if (owned) memcpy(owned, p, (size_t)bytes);
    else rc = sql_nomem(&db->err);
  }
  if (rc == HDB_OK) {
    *to = type == VAL_TEXT ? value_text(owned, (size_t)bytes) : value_blob(owned, (size_t)bytes);
    b->p = owned;
    b->destroy = destroy == HDB_TRANSIENT ? free : destroy;
  } else if (destroy && destroy != HDB_TRANSIENT) {
    destroy((void *)p);
  }
  if (!s) return rc;
  int code = hdb_result(db, rc);
  hdb_unlock(db);
  return code;
}

int hdb_bind_text(hdb_stmt *s, int index, const char *p, int64_t bytes, hdb_destructor destroy) {
  return bind_bytes(s, index, VAL_TEXT, p, bytes < 0 && p ? (int64_t)strlen(p) : bytes, destroy);
}

int hdb_bind_blob(hdb_stmt *s, int index, const void *p, int64_t bytes, hdb_destructor destroy) {
  if (bytes < 0) return HDB_MISUSE;
  return bind_bytes(s, index, VAL_BLOB, p, bytes, destroy);
}

int hdb_bind_zeroblob(hdb_stmt *s, int index, int64_t bytes) {
  if (!s) return HDB_MISUSE;
  if (bytes < 0) bytes = 0;
  if (bytes > s->db->limits[HDB_LIMIT_LENGTH]) {
    error_set(&s->db->err, HDB_TOOBIG, "string or blob too big");
    return hdb_result(s->db, HDB_TOOBIG);
  }
  void *p = calloc(1, (size_t)bytes + 1);
  if (!p) return HDB_NOMEM;
  return bind_bytes(s, index, VAL_BLOB, p, bytes, free);
}

int hdb_bind_value(hdb_stmt *s, int index, const hdb_value *from) {
  const value *v = &from->v;
  if (v->type == VAL_TEXT || v->type == VAL_BLOB)
    return bind_bytes(s, index, v->type, v->p ? v->p : "", v->n, HDB_TRANSIENT);
  return bind_simple(s, index, *v);
}

static value value_of_parameter(const hdb_parameter *p) {
  switch (p->type) {
  case HDB_INTEGER: return value_int(p->integer);
  case HDB_FLOAT: return value_real(p->real);
  case HDB_TEXT: return value_text(p->data, (size_t)p->bytes);
  case HDB_BLOB: return value_blob(p->data, (size_t)p->bytes);
  default: return value_null();
  }
}

static status bind_all(hdb_stmt *s, const hdb_parameter *values, int count) {
  error *err = &s->db->err;
  if (s->running) return error_set(err, HDB_MISUSE, "bad parameter or other API misuse");
  if (count != s->program->tree->parameters) return error_set(err, HDB_RANGE, "column index out of range");
  for (int i = 0; i < count; i++) {
    const hdb_parameter *p = &values[i];
    if ((p->type == HDB_TEXT || p->type == HDB_BLOB) && p->bytes > s->db->limits[HDB_LIMIT_LENGTH])
      return error_set(err, HDB_TOOBIG, "string or blob too big");
    if (s->bounds[i].destroy) bound_release(&s->bounds[i]);
    s->parameters[i] = value_of_parameter(p);
  }
  return HDB_OK;
}

int hdb_bind_all(hdb_stmt *s, const hdb_parameter *values, int count) {
  if (!s) return HDB_MISUSE;
  hdb_lock(s->db);
  status rc = bind_all(s, values, count);
  int code = rc == HDB_OK ? HDB_OK : hdb_result(s->db, rc);
  hdb_unlock(s->db);
  return code;
}

int hdb_clear_bindings(hdb_stmt *s) {
  if (!s) return HDB_MISUSE;
  hdb_lock(s->db);
  for (int i = 0; i < s->program->tree->parameters; i++) {
    bound_release(&s->bounds[i]);
    s->parameters[i] = value_null();
  }
  hdb_unlock(s->db);
  return HDB_OK;
}

int hdb_bind_parameter_count(hdb_stmt *s) { return s ? s->program->tree->parameters : 0; }

const char *hdb_bind_parameter_name(hdb_stmt *s, int index) {
  if (!s || index < 1 || index > s->program->tree->names_n) return NULL;
  const char *name = s->program->tree->names[index - 1];
  return name && strcmp(name, "?") == 0 ? NULL : name;
}

int hdb_bind_parameter_index(hdb_stmt *s, const char *name) {
  if (!s || !name) return 0;
  const statement *tree = s->program->tree;
  for (int i = 0; i < tree->names_n; i++)
    if (tree->names[i] && strcmp(tree->names[i], name) == 0) return i + 1;
  return 0;
}

/* ---- the expanded text ---- */

/* Which parameter a token is; *last is the highest so far. */
static int token_parameter(hdb_stmt *s, slice token, int *last) {
  int index;
  if (token.n == 1 && token.p[0] == '?') {
    index = *last + 1;
  } else if (token.p[0] == '?') {
    index = 0;
    for (size_t i = 1; i < token.n && index < 1000000; i++) index = index * 10 + (token.p[i] - '0');
  } else {
    char *name = strndup((const char *)token.p, token.n);
    index = name ? hdb_bind_parameter_index(s, name) : 0;
    free(name);
  }
  if (index > *last) *last = index;
  return index;
}

char *hdb_expanded_sql(hdb_stmt *s) {
  if (!s) return NULL;
  hdb_lock(s->db);
  buf out = BUF_INIT;
  slice text = slice_of(s->sql, s->sql_n);
  int last = 0;
  for (size_t at = 0; at < text.n;) {
    enum token_kind kind;
    size_t n = grammar_token(text, at, s->db->pragmas.dialect, &kind);
    if (n == 0 || kind == TOK_END) break;
    slice token = slice_of(text.p + at, n);
    int index = kind == TOK_PARAM ? token_parameter(s, token, &last) : 0;
    if (index >= 1 && index <= s->program->tree->parameters) value_quote(&s->parameters[index - 1], &out);
    else buf_append(&out, token.p, token.n);
    at += n;
  }
  const char *done = buf_cstr(&out);
  bool too_big = out.n > (size_t)s->db->limits[HDB_LIMIT_LENGTH];
  hdb_unlock(s->db);
  if (!done || too_big) buf_free(&out);
  return (char *)out.p;
}
