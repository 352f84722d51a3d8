/* CREATE INDEX i ON t USING hnsw (column vector_cosine_ops) WITH (m = 16, ef_construction = 200): what it may say, and
 * what a search takes from it. Its row in sqlite_schema is all there is on disk; the graph is the automatic one with
 * these parameters. With WHERE it says which rows it is for: the graph has all of the column's, so that searches of these rows
 * walk it with the condition as their filter, and others may use it too. As pgvector has it, vector_l2_ops is meant when no class is named. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sql/vector_access.h"

enum { M_MIN = 2, M_MAX = 100, EF_MIN = 4, EF_MAX = 1000 };

static bool class_metric(const char *name, enum hnsw_metric *metric) {
  static const struct {
    const char *name;
    enum hnsw_metric metric;
  } classes[] = {{"vector_l2_ops", HNSW_L2},
                 {"vector_cosine_ops", HNSW_COSINE},
                 {"vector_ip_ops", HNSW_IP},
                 {"vector_l1_ops", HNSW_L1}};
  *metric = HNSW_L2;
  if (!name) return true;
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    if (strcasecmp(classes[i].name, name) != 0) continue;
    *metric = classes[i].metric;
    return true;
  }
  return false;
}

static const char *indexed_name(const create_index_statement *s) {
  if (!s->columns || s->columns->n != 1) return NULL;
  const expr *e = s->columns->items[0].e;
  return e->op == EX_ID ? e->text : NULL;
}

static const char *op_class(const create_index_statement *s) {
  return s->op_classes ? s->op_classes[0] : NULL;
}

static status option_check(compile *c, const struct expr_item *o) {
  bool m = o->name && strcasecmp(o->name, "m") == 0,
       ef = o->name && strcasecmp(o->name, "ef_construction") == 0;
  if (!m && !ef) return error_set(c->err, HDB_ERROR, "unrecognized parameter \"%s\"", o->name ? o->name : "");
  int low = m ? M_MIN : EF_MIN, high = m ? M_MAX : EF_MAX;
  if (o->e->op != EX_INT || o->e->i < low || o->e->i > high)
    return error_set(c->err, HDB_ERROR, "%s must lie between %d and %d", o->name, low, high);
  return HDB_OK;
}

status vector_index_check(compile *c, const create_index_statement *s, const table *t) {
  enum hnsw_metric metric;
  bool hnsw = s->method && strcasecmp(s->method, "hnsw") == 0;
  if (s->method && !hnsw && strcasecmp(s->method, "btree") != 0)
    return error_set(c->err, HDB_ERROR, "access method \"%s\" does not exist", s->method);
  if (!hnsw && s->options && s->options->n)
    return error_set(c->err, HDB_ERROR, "unrecognized parameter \"%s\"", s->options->items[0].name);
  for (int i = 0; !hnsw && s->op_classes && s->columns && i < s->columns->n; i++)
    if (s->op_classes[i])
      return error_set(c->err, HDB_ERROR, "operator class \"%s\" is for USING hnsw", s->op_classes[i]);
  if (!hnsw) return HDB_OK;
  if (s->unique)
    return error_set(c->err, HDB_ERROR, "access method \"hnsw\" does not support unique indexes");
  const char *name = indexed_name(s);
  int column = name ? table_column(t, name) : -1;
  if (column < 0 || !t->columns[column].vector_dimensions)
    return error_set(c->err, HDB_ERROR, "an index USING hnsw has one column, of type VECTOR(n)");
  if (t->without_rowid)
    return error_set(c->err, HDB_ERROR, "not supported yet: USING hnsw on a WITHOUT ROWID table");
  if (!class_metric(op_class(s), &metric))
    return error_set(c->err, HDB_ERROR, "operator class \"%s\" does not exist for access method \"hnsw\"",
                     op_class(s));
  for (int i = 0; s->options && i < s->options->n; i++) TRY(option_check(c, &s->options->items[i]));
  return HDB_OK;
}

const char *vector_index_declared(const table *t, int column, vector_key *key) {
  const schema *s = t->schema;
  for (int i = 0; s && i < s->indexes_n; i++) {
    const index_ *x = s->indexes[i];
    enum hnsw_metric metric;
    if (!index_is_vector(x) || x->owner != t) continue;
    const char *name = indexed_name(x->create);
    if (!name || table_column(t, name) != column || !class_metric(op_class(x->create), &metric) ||
        metric != key->metric)
      continue;
    for (int k = 0; x->create->options && k < x->create->options->n; k++) {
      const struct expr_item *o = &x->create->options->items[k];
      if (!o->name || o->e->op != EX_INT) continue;
      if (strcasecmp(o->name, "m") == 0) key->m = (int32_t)o->e->i;
      if (strcasecmp(o->name, "ef_construction") == 0) key->ef_construction = (int32_t)o->e->i;
    }
    return x->name;
  }
  return NULL;
}

/* ---- from the first row on ---- */
typedef struct expecting {
  engine *e;
  const char *label;
  int n;
} expecting;

static status expect_stored(void *context, const vector_key *key) {
  expecting *x = context;
  x->n += vector_index_await(x->e, key, x->label);
  return HDB_OK;
}

static void expect_column(engine *e, const table *t, int number) {
  const column *c = &t->columns[number];
  char label[256];
  expecting x = {.e = e, .label = label};
  snprintf(label, sizeof label, "%s.%s", t->name, c->name);
  vector_key key = {.tree = t->tree, .column = c->stored, .dimensions = c->vector_dimensions};
  if (vector_index_is_known(e, &key)) return;
  for (int metric = HNSW_L2; metric <= HNSW_L1; metric++) {
    vector_key declared = key;
    declared.metric = (uint8_t)metric;
    const char *name = vector_index_declared(t, number, &declared);
    if (name) x.n += vector_index_await(e, &declared, name);
  }
  if (x.n || vector_store_each(e, &key, expect_stored, &x) != HDB_OK || x.n) return;
  key.metric = HNSW_COSINE;
  vector_index_await(e, &key, label);
}

void vector_index_expect(engine *e, const table *t) {
  if (t->kind != TABLE_ORDINARY || t->without_rowid) return;
  for (int i = 0; i < t->columns_n; i++)
    if (t->columns[i].vector_dimensions && t->columns[i].stored >= 0 && !t->columns[i].generated)
      expect_column(e, t, i);
}
