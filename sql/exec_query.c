/* Nodes in general, queries as their users see them, and the small row nodes: project, values, filter, limit.
 *
 * States are made on first open from exec->lifetime and linked from exec->node_states, so that whoever ends an
 * execution gives everything back with one call (node_states_release), whatever state it was in.
 */
#include "sql/plan_internal.h"

status node_no_memory(exec *x) { return error_set(x->err, HDB_NOMEM, "out of memory"); }

node_state *node_state_make(exec *x, const plan_node *n) {
  node_state *s = arena_zero(&x->lifetime, n->k->state_size);
  if (!s) return NULL;
  s->node = n;
  s->next = x->node_states;
  x->node_states = s;
  x->states[n->state] = s;
  return s;
}

void node_close(exec *x, const plan_node *n) {
  if (n && n->k->close && x->states[n->state]) n->k->close(x, n);
}

void node_states_release(exec *x) {
  for (node_state *s = x->node_states; s; s = s->next)
    if (s->node->k->close) s->node->k->close(x, s->node);
  x->node_states = NULL;
}

int query_columns(const query *q) { return q->columns_n; }

const index_ *query_walked_index(const query *q) {
  const plan_node *n = q ? q->top : NULL;
  if (n && n->k == &project_class) n = ((const project_node *)n)->child;
  if (!n || (n->k != &join_class && n->k != &single_class) || ((const join_node *)n)->levels_n < 1) return NULL;
  const access *a = &((const join_node *)n)->levels[0].a;
  return a->kind == ACCESS_INDEX ? a->index : NULL;
}
status query_open(exec *x, const query *q) { return node_open(x, q->top); }
status query_next(exec *x, const query *q, const value **row) { return node_next(x, q->top, row); }
void query_close(exec *x, const query *q) {
  if (q) node_close(x, q->top);
}

/* ---- project: result columns into registers ---- */
static status project_open(exec *x, const plan_node *n) {
  if (!node_state_get(x, n) && !node_state_make(x, n)) return node_no_memory(x);
  return node_open(x, ((const project_node *)n)->child);
}
static status project_next(exec *x, const plan_node *n, const value **row) {
  const project_node *p = (const project_node *)n;
  const value *ignored;
  status rc = node_next(x, p->child, &ignored);
  if (rc != HDB_ROW) return rc;
  TRY(expr_eval_list(x, p->program));
  *row = x->registers + p->first;
  return HDB_ROW;
}
static void project_close(exec *x, const plan_node *n) { node_close(x, ((const project_node *)n)->child); }
const node_class project_class = {"project", sizeof(node_state), project_open, project_next, project_close};

/* ---- VALUES ---- */
typedef struct values_state {
  node_state head;
  int at;
  arena_mark mark;
} values_state;
static status values_open(exec *x, const plan_node *n) {
  values_state *s = node_state_get(x, n);
  if (!s && !(s = (values_state *)node_state_make(x, n))) return node_no_memory(x);
  s->at = 0;
  s->mark = arena_save(&x->memory);
  return HDB_OK;
}
static status values_next(exec *x, const plan_node *n, const value **row) {
  const values_node *v = (const values_node *)n;
  values_state *s = node_state_get(x, n);
  if (s->at == v->rows_n) return HDB_DONE;
  arena_rewind(&x->memory, s->mark);
  TRY(exec_tick(x));
  TRY(expr_eval_list(x, v->rows[s->at].program));
  *row = x->registers + v->rows[s->at++].first;
  return HDB_ROW;
}
const node_class values_class = {"values", sizeof(values_state), values_open, values_next, NULL};

/* ---- filter: HAVING ---- */
static status filter_open(exec *x, const plan_node *n) {
  if (!node_state_get(x, n) && !node_state_make(x, n)) return node_no_memory(x);
  return node_open(x, ((const filter_node *)n)->child);
}
static status filter_next(exec *x, const plan_node *n, const value **row) {
  const filter_node *f = (const filter_node *)n;
  for (;;) {
    int truth;
    status rc = node_next(x, f->child, row);
    if (rc != HDB_ROW) return rc;
    TRY(expr_test(x, f->condition, &truth));
    if (truth == 1) return HDB_ROW;
  }
}
static void filter_close(exec *x, const plan_node *n) { node_close(x, ((const filter_node *)n)->child); }
const node_class filter_class = {"filter", sizeof(node_state), filter_open, filter_next, filter_close};

/* ---- LIMIT, OFFSET ---- */
typedef struct limit_state {
  node_state head;
  int64_t left, skip; /* left < 0: no limit */
} limit_state;

static status whole_number(exec *x, const expr_program *p, int64_t *out) {
  const value *v;
  TRY(expr_eval(x, p, &v));
  value n = *v;
  if (n.type == VAL_TEXT || n.type == VAL_BLOB) TRY(value_apply_affinity(&n, AFF_NUMERIC, &x->memory));
  if (n.type == VAL_REAL && n.r >= -9223372036854775808.0 && n.r < 9223372036854775808.0 && (double)(int64_t)n.r == n.r)
    n = value_int((int64_t)n.r);
  if (n.type != VAL_INTEGER) return error_set(x->err, HDB_MISMATCH, "datatype mismatch");
  *out = n.i;
  return HDB_OK;
}

status limit_values(exec *x, const expr_program *limit, const expr_program *offset, int64_t *limit_out, int64_t *offset_out) {
  *limit_out = -1;
  *offset_out = 0;
  if (limit) TRY(whole_number(x, limit, limit_out));
  if (*limit_out < 0) *limit_out = -1;
  if (offset) TRY(whole_number(x, offset, offset_out));
  if (*offset_out < 0) *offset_out = 0;
  return HDB_OK;
}

static status limit_open(exec *x, const plan_node *n) {
  const limit_node *l = (const limit_node *)n;
  limit_state *s = node_state_get(x, n);
  if (!s && !(s = (limit_state *)node_state_make(x, n))) return node_no_memory(x);
  TRY(limit_values(x, l->limit, l->offset, &s->left, &s->skip));
  return s->left == 0 ? HDB_OK : node_open(x, l->child);
}
static status limit_next(exec *x, const plan_node *n, const value **row) {
  const limit_node *l = (const limit_node *)n;
  limit_state *s = node_state_get(x, n);
  if (s->left == 0) return HDB_DONE;
  /* rows that are skipped need no columns */
  const plan_node *from = l->child->k == &project_class ? ((const project_node *)l->child)->child : l->child;
  for (; s->skip > 0; s->skip--) {
    status rc = node_next(x, from, row);
    if (rc == HDB_DONE) s->left = 0;
    if (rc != HDB_ROW) return rc;
  }
  status rc = node_next(x, l->child, row);
  if (rc == HDB_DONE) s->left = 0;
  else if (s->left > 0) s->left--;
  return rc;
}
static void limit_close(exec *x, const plan_node *n) { node_close(x, ((const limit_node *)n)->child); }
const node_class limit_class = {"limit", sizeof(limit_state), limit_open, limit_next, limit_close};

/* ---- rows shared by several references to one CTE ---- */
status apply_affinities(const uint8_t *affinities, const value *row, int n, value *out, arena *memory) {
  for (int i = 0; i < n; i++) {
    out[i] = row[i];
    if (affinities[i] >= AFF_TEXT && row[i].type != VAL_NULL) TRY(value_apply_affinity(&out[i], affinities[i], memory));
  }
  return HDB_OK;
}

typedef struct shared_state {
  node_state head;
  spool *rows;
  bool filled;
  value *converted;
} shared_state;
status shared_rows_fill(exec *x, const struct shared_rows *r, const spool **out) {
  shared_state *s = x->states[r->node.state];
  if (!s && !(s = (shared_state *)node_state_make(x, &r->node))) return node_no_memory(x);
  if (!s->filled) {
    if (!s->rows && !(s->rows = spool_new(x, r->node.columns_n))) return node_no_memory(x);
    s->converted = arena_zero(&x->lifetime, (size_t)(r->node.columns_n + 1) * sizeof(value));
    if (!s->converted) return node_no_memory(x);
    TRY(node_open(x, r->source));
    const value *row;
    status rc;
    while ((rc = node_next(x, r->source, &row)) == HDB_ROW) {
      if (r->affinities) {
        TRY(apply_affinities(r->affinities, row, r->node.columns_n, s->converted, &x->memory));
        row = s->converted;
      }
      TRY(spool_add(s->rows, row));
    }
    if (rc != HDB_DONE) return rc;
    node_close(x, r->source);
    s->filled = true;
  }
  *out = s->rows;
  return HDB_OK;
}
static void shared_close(exec *x, const plan_node *n) {
  shared_state *s = node_state_get(x, n);
  spool_free(s->rows);
  s->rows = NULL;
  s->filled = false;
}
const node_class shared_class = {"shared", sizeof(shared_state), NULL, NULL, shared_close};
