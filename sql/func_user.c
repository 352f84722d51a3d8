/* Functions and collations that programs register: hdb_create_function and what it needs.
 *
 * U1  A registration is a node that lives until the connection closes. Replacing one rewrites its node, deleting
 *     one leaves it as a gravestone, which hides a builtin of the same name and count (as SQLite does); so pointers
 *     that compiled statements hold never dangle. It happens only while no statement runs, and makes every
 *     statement compile again (hdb.generation).
 * U2  A destructor is called exactly once: when its registration is replaced, deleted or closed, or when
 *     registering a function (not a collation) failed.
 * U3  The memory of an aggregate invocation is freed after final; an abandoned invocation that had taken memory
 *     gets its final called too, its result thrown away, so that the program can free what hangs on it.
 *
 * What can fail: the program's function (hdb_result_error becomes the statement's error), memory, too big results.
 * Cost: a call through two pointers and 48 bytes an argument; texts are copied only when asked for as C strings.
 */
#include "sql/func_user.h"

#include <stdlib.h>
#include <strings.h>

#include "sql/func.h"
#include "sql/internal.h"

typedef struct user_function {
  struct user_function *next;
  function f; /* neither scalar nor step: a gravestone */
  hdb *db;
  void *data;
  void (*scalar)(hdb_context *, int, hdb_value **);
  void (*step)(hdb_context *, int, hdb_value **);
  void (*final)(hdb_context *);
  void (*value)(hdb_context *);
  void (*inverse)(hdb_context *, int, hdb_value **);
  hdb_destructor destroy;
  char name[];
} user_function;

typedef struct collation_node {
  struct collation_node *next;
  collation c; /* compare NULL: a gravestone */
  char name[];
} collation_node;

struct hdb_context {
  function_call *call;
  user_function *u;
  value result;
  status error;
  char *message;
};

/* The executor's bytes of an aggregate. */
typedef struct user_state {
  void *memory;
} user_state;

/* ---- values ---- */

int hdb_value_type(hdb_value *v) { return v->v.type; }

int hdb_value_numeric_type(hdb_value *v) {
  if (v->v.type == VAL_TEXT) v->v = function_numeric(&v->v);
  return v->v.type;
}

int64_t hdb_value_int64(hdb_value *v) { return value_to_int(&v->v); }
double hdb_value_double(hdb_value *v) { return value_to_real(&v->v); }

const char *hdb_value_text(hdb_value *v) {
  if (v->v.type == VAL_NULL) return NULL;
  if (v->text) return v->text;
  slice s;
  if (value_to_text(&v->v, v->memory, &s) != HDB_OK) return NULL;
  v->text = arena_strndup(v->memory, (const char *)s.p, s.n);
  v->text_n = s.n;
  return v->text;
}

const void *hdb_value_blob(hdb_value *v) {
  if (v->v.type == VAL_TEXT || v->v.type == VAL_BLOB) return v->v.n ? v->v.p : NULL;
  return hdb_value_text(v);
}

int64_t hdb_value_bytes(hdb_value *v) {
  if (v->v.type == VAL_TEXT || v->v.type == VAL_BLOB) return v->v.n;
  return hdb_value_text(v) ? (int64_t)v->text_n : 0;
}

unsigned hdb_value_subtype(hdb_value *v) { return v->v.subtype; }

/* ---- results ---- */

static void fail(hdb_context *c, status code, const char *message, size_t n) {
  free(c->message);
  c->message = message ? strndup(message, n) : NULL;
  c->error = code;
}

void hdb_result_null(hdb_context *c) { c->result = value_null(); }
void hdb_result_int64(hdb_context *c, int64_t v) { c->result = value_int(v); }
void hdb_result_double(hdb_context *c, double v) { c->result = value_real(v); }

static void result_bytes(hdb_context *c, uint8_t type, const void *p, int64_t n, hdb_destructor destroy) {
  if (!p) {
    c->result = value_null();
  } else {
    if (n < 0) n = (int64_t)strlen(p);
    value v = value_blob(p, (size_t)n);
    v.type = type;
    if (n > function_limit(c->call, HDB_LIMIT_LENGTH)) hdb_result_error_toobig(c);
    else if (destroy == HDB_STATIC) c->result = v;
    else if (value_copy(c->call->memory, &v, &c->result) != HDB_OK) hdb_result_error_nomem(c);
  }
  if (destroy != HDB_STATIC && destroy != HDB_TRANSIENT) destroy((void *)(uintptr_t)p);
}
void hdb_result_text(hdb_context *c, const char *p, int64_t bytes, hdb_destructor destroy) {
  result_bytes(c, VAL_TEXT, p, bytes, destroy);
}
void hdb_result_blob(hdb_context *c, const void *p, int64_t bytes, hdb_destructor destroy) {
  result_bytes(c, VAL_BLOB, p, bytes, destroy);
}

void hdb_result_zeroblob(hdb_context *c, int64_t bytes) {
  if (bytes < 0) bytes = 0;
  if (bytes > function_limit(c->call, HDB_LIMIT_LENGTH)) {
    hdb_result_error_toobig(c);
    return;
  }
  void *p = arena_zero(c->call->memory, (size_t)bytes + 1);
  if (p) c->result = value_blob(p, (size_t)bytes);
  else hdb_result_error_nomem(c);
}

void hdb_result_value(hdb_context *c, hdb_value *v) {
  if (value_copy(c->call->memory, &v->v, &c->result) != HDB_OK) hdb_result_error_nomem(c);
}
void hdb_result_subtype(hdb_context *c, unsigned subtype) { c->result.subtype = (uint8_t)subtype; }

void hdb_result_error(hdb_context *c, const char *message, int bytes) {
  fail(c, HDB_ERROR, message, bytes < 0 && message ? strlen(message) : (size_t)bytes);
}
void hdb_result_error_code(hdb_context *c, int code) { c->error = code ? (status)code : HDB_ERROR; }
void hdb_result_error_nomem(hdb_context *c) { fail(c, HDB_NOMEM, NULL, 0); }
void hdb_result_error_toobig(hdb_context *c) { fail(c, HDB_TOOBIG, NULL, 0); }

void *hdb_user_data(hdb_context *c) { return c->u->data; }
hdb *hdb_context_db_handle(hdb_context *c) { return c->u->db; }

void *hdb_aggregate_context(hdb_context *c, int bytes) {
  user_state *s = c->call->state;
  if (!s->memory && bytes > 0) s->memory = calloc(1, (size_t)bytes);
  return s->memory;
}

/* ---- calls ---- */

/* The outcome of a call as a status; frees the context's message. */
static status context_end(hdb_context *c, value *result) {
  status rc = c->error;
  if (rc != HDB_OK) error_set(c->call->err, rc, "%s", c->message ? c->message : status_text(rc));
  free(c->message);
  if (result) *result = rc == HDB_OK ? c->result : value_null();
  return rc;
}

enum { ON_STACK = 8 };

static status call_with(function_call *call, void (*target)(hdb_context *, int, hdb_value **), int n, const value *a,
                        value *result) {
  hdb_value few[ON_STACK], *values = few;
  hdb_value *pointers_few[ON_STACK], **pointers = pointers_few;
  if (n > ON_STACK) {
    values = arena_alloc(call->memory, (size_t)n * sizeof *values);
    pointers = arena_alloc(call->memory, (size_t)n * sizeof *pointers);
    if (!values || !pointers) return function_nomem(call);
  }
  for (int i = 0; i < n; i++) {
    values[i] = (hdb_value){.v = a[i], .memory = call->memory};
    pointers[i] = &values[i];
  }
  hdb_context c = {call, call->f->data, value_null(), HDB_OK, NULL};
  target(&c, n, pointers);
  return context_end(&c, result);
}

static status user_scalar(function_call *call, int n, const value *a, value *result) {
  return call_with(call, ((user_function *)call->f->data)->scalar, n, a, result);
}
static status user_step(function_call *call, int n, const value *a) {
  return call_with(call, ((user_function *)call->f->data)->step, n, a, NULL);
}
static status user_inverse(function_call *call, int n, const value *a) {
  return call_with(call, ((user_function *)call->f->data)->inverse, n, a, NULL);
}
static status user_value(function_call *call, value *result) {
  user_function *u = call->f->data;
  hdb_context c = {call, u, value_null(), HDB_OK, NULL};
  u->value(&c);
  return context_end(&c, result);
}
static status user_final(function_call *call, value *result) {
  user_function *u = call->f->data;
  user_state *s = call->state;
  hdb_context c = {call, u, value_null(), HDB_OK, NULL};
  u->final(&c);
  free(s->memory);
  s->memory = NULL;
  return context_end(&c, result);
}
static void user_release(function_call *call) { /* U3 */
  user_function *u = call->f->data;
  user_state *s = call->state;
  if (!s->memory) return;
  hdb_context c = {call, u, value_null(), HDB_OK, NULL};
  u->final(&c);
  free(c.message);
  free(s->memory);
  s->memory = NULL;
}

/* ---- registering ---- */

static user_function *find_node(hdb *db, const char *name, int arguments) {
  user_function *u = db->functions;
  while (u && (u->f.arguments != arguments || strcasecmp(u->name, name) != 0)) u = u->next;
  return u;
}
static bool alive(const function *f) { return f->scalar || f->step; }

static void drop_registration(user_function *u) {
  if (u->destroy) u->destroy(u->data);
  u->destroy = NULL;
  u->data = NULL;
  u->f.scalar = NULL;
  u->f.step = NULL;
}

static unsigned function_flags(int flags, const user_function *u) {
  unsigned result = FUNC_USER;
  if (flags & HDB_DETERMINISTIC) result |= FUNC_DETERMINISTIC;
  if (flags & HDB_DIRECTONLY) result |= FUNC_DIRECTONLY;
  if (flags & HDB_INNOCUOUS) result |= FUNC_INNOCUOUS;
  if (flags & HDB_SUBTYPE) result |= FUNC_SUBTYPE;
  if (u->step) result |= FUNC_AGGREGATE;
  if (u->value) result |= FUNC_WINDOW;
  return result;
}

/* New or to be rewritten; NULL: out of memory. */
static user_function *node_for(hdb *db, const char *name, int arguments) {
  user_function *u = find_node(db, name, arguments);
  if (u) {
    drop_registration(u);
    return u;
  }
  size_t n = strlen(name) + 1;
  u = calloc(1, sizeof *u + n);
  if (!u) return NULL;
  memcpy(u->name, name, n);
  for (char *p = u->name; *p; p++) *p = (char)ascii_lower((unsigned char)*p);
  u->db = db;
  u->f.name = u->name;
  u->f.arguments = u->f.min_arguments = arguments;
  if (arguments < 0) u->f.min_arguments = 0;
  u->f.data = u;
  u->next = db->functions;
  db->functions = u;
  return u;
}

static status register_function(hdb *db, const char *name, int arguments, int flags, const user_function *wanted) {
  bool aggregate = wanted->step || wanted->final, window = wanted->value || wanted->inverse;
  if (!name || strlen(name) > 255 || arguments < -1 || arguments > 127 || (wanted->scalar && aggregate) ||
      !wanted->step != !wanted->final || (window && !(wanted->value && wanted->inverse && wanted->step)))
    return error_set(&db->err, HDB_MISUSE, "bad parameter or other API misuse");
  bool removing = !wanted->scalar && !aggregate;
  const function *known = function_find(db, name, arguments, NULL);
  if (known && known->arguments == arguments) {
    if (db->active > 0)
      return error_set(&db->err, HDB_BUSY, "unable to delete/modify user-function due to active statements");
    db->generation++;
  } else if (removing) {
    return HDB_OK;
  }
  user_function *u = node_for(db, name, arguments);
  if (!u) return error_set(&db->err, HDB_NOMEM, "out of memory");
  u->scalar = wanted->scalar;
  u->step = wanted->step;
  u->final = wanted->final;
  u->value = wanted->value;
  u->inverse = wanted->inverse;
  u->data = wanted->data;
  u->destroy = wanted->destroy;
  u->f.flags = function_flags(flags, u);
  u->f.state_size = u->step ? sizeof(user_state) : 0;
  u->f.scalar = u->scalar ? user_scalar : NULL;
  u->f.step = u->step ? user_step : NULL;
  u->f.final = u->step ? user_final : NULL;
  u->f.release = u->step ? user_release : NULL;
  u->f.value = u->value ? user_value : NULL;
  u->f.inverse = u->inverse ? user_inverse : NULL;
  db->generation++;
  error_clear(&db->err);
  return HDB_OK;
}

static int register_or_destroy(hdb *db, const char *name, int arguments, int flags, const user_function *wanted) {
  pthread_mutex_lock(&db->mutex);
  status rc = register_function(db, name, arguments, flags, wanted);
  pthread_mutex_unlock(&db->mutex);
  if (rc != HDB_OK && wanted->destroy) wanted->destroy(wanted->data); /* U2 */
  return rc;
}

int hdb_create_function(hdb *db, const char *name, int arguments, int flags, void *data,
                        void (*scalar)(hdb_context *, int, hdb_value **),
                        void (*step)(hdb_context *, int, hdb_value **), void (*final)(hdb_context *),
                        hdb_destructor destroy) {
  user_function wanted = {.data = data, .scalar = scalar, .step = step, .final = final, .destroy = destroy};
  return register_or_destroy(db, name, arguments, flags, &wanted);
}

int hdb_create_window_function(hdb *db, const char *name, int arguments, int flags, void *data,
                               void (*step)(hdb_context *, int, hdb_value **), void (*final)(hdb_context *),
                               void (*value)(hdb_context *), void (*inverse)(hdb_context *, int, hdb_value **),
                               hdb_destructor destroy) {
  user_function wanted = {.data = data, .step = step, .final = final, .value = value, .inverse = inverse, .destroy = destroy};
  return register_or_destroy(db, name, arguments, flags, &wanted);
}

/* ---- looking up ---- */

const function *user_function_find(hdb *db, const char *name, int arguments, bool *name_exists) {
  const function *any = NULL;
  for (user_function *u = db->functions; u; u = u->next) {
    if (strcasecmp(u->name, name) != 0) continue;
    if (alive(&u->f)) *name_exists = true;
    db->user_code = true; /* what is compiled now cannot be replayed */
    if (u->f.arguments == arguments) return &u->f;
    if (u->f.arguments < 0) any = &u->f;
  }
  return any;
}

void user_function_each(hdb *db, void (*visit)(void *, const function *), void *context) {
  for (user_function *u = db->functions; u; u = u->next)
    if (alive(&u->f)) visit(context, &u->f);
}

/* ---- collations ---- */

static collation_node *collation_find(hdb *db, const char *name) {
  collation_node *n = db->collations;
  while (n && strcasecmp(n->name, name) != 0) n = n->next;
  return n;
}

static const collation *builtin_collation(const char *name) {
  static const collation *const all[] = {&collation_binary, &collation_nocase, &collation_rtrim};
  for (int i = 0; i < COUNT(all); i++)
    if (strcasecmp(all[i]->name, name) == 0) return all[i];
  return NULL;
}

static status register_collation(hdb *db, const char *name, void *data,
                                 int (*compare)(void *, int, const void *, int, const void *), hdb_destructor destroy) {
  if (!name) return error_set(&db->err, HDB_MISUSE, "bad parameter or other API misuse");
  collation_node *n = collation_find(db, name);
  if ((n && n->c.compare) || (!n && builtin_collation(name))) {
    if (db->active > 0)
      return error_set(&db->err, HDB_BUSY, "unable to delete/modify collation sequence due to active statements");
    if (n && n->c.destroy) n->c.destroy(n->c.data);
  }
  if (!n) {
    size_t size = strlen(name) + 1;
    n = calloc(1, sizeof *n + size);
    if (!n) return error_set(&db->err, HDB_NOMEM, "out of memory");
    memcpy(n->name, name, size);
    n->next = db->collations;
    db->collations = n;
  }
  n->c = (collation){.name = n->name, .data = data, .compare = compare, .destroy = destroy};
  db->generation++;
  error_clear(&db->err);
  return HDB_OK;
}

int hdb_create_collation(hdb *db, const char *name, void *data,
                         int (*compare)(void *, int, const void *, int, const void *), hdb_destructor destroy) {
  pthread_mutex_lock(&db->mutex);
  status rc = register_collation(db, name, data, compare, destroy);
  pthread_mutex_unlock(&db->mutex);
  return rc;
}

status find_collation(hdb *db, const char *name, const collation **out, error *err) {
  collation_node *n = db ? collation_find(db, name) : NULL;
  *out = n ? (n->c.compare ? &n->c : NULL) : builtin_collation(name);
  if (n) db->user_code = true;
  if (*out) return HDB_OK;
  return error_set(err, HDB_ERROR_MISSING_COLLSEQ, "no such collation sequence: %s", name);
}

void user_collation_each(hdb *db, void (*visit)(void *, const collation *), void *context) {
  for (collation_node *n = db->collations; n; n = n->next)
    if (n->c.compare) visit(context, &n->c);
}

void user_functions_close(hdb *db) {
  while (db->functions) {
    user_function *u = db->functions;
    db->functions = u->next;
    drop_registration(u);
    free(u);
  }
  while (db->collations) {
    collation_node *n = db->collations;
    db->collations = n->next;
    if (n->c.compare && n->c.destroy) n->c.destroy(n->c.data);
    free(n);
  }
}
