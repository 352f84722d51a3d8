/* UNION ALL, UNION, INTERSECT, EXCEPT of two row nodes.
 *
 * UNION ALL streams, left then right. The others collect keys and give them out in key order, as SQLite's ephemeral
 * tables do; of equal rows (1 and 1.0) the one that came last is shown. Under ORDER BY SQLite merges sorted sides
 * instead: of equal rows the right side's first is shown, else the left side's first.
 */
#include "sql/plan_internal.h"

typedef struct compound_state {
  node_state head;
  key_map rows;
  bool ready, collected, on_right;
  size_t at;
} compound_state;

typedef struct mark_payload {
  bool keep, from_right;
} mark_payload;

static void compound_close(exec *x, const plan_node *n) {
  const compound_node *c = (const compound_node *)n;
  compound_state *s = node_state_get(x, n);
  key_map_clear(&s->rows);
  node_close(x, c->left);
  node_close(x, c->right);
}

static status compound_open(exec *x, const plan_node *n) {
  const compound_node *c = (const compound_node *)n;
  compound_state *s = node_state_get(x, n);
  if (!s && !(s = (compound_state *)node_state_make(x, n))) return node_no_memory(x);
  s->on_right = s->collected = false;
  s->at = 0;
  if (c->op == COMPOUND_UNION_ALL) return node_open(x, c->left);
  if (s->ready) key_map_clear(&s->rows);
  key_map_init(&s->rows, x, n->columns_n, c->specs, sizeof(mark_payload), true);
  s->ready = true;
  return HDB_OK;
}

static bool same_value(const value *a, const value *b) {
  if (a->type != b->type) return false;
  if (a->type == VAL_TEXT || a->type == VAL_BLOB) return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
  return a->type == VAL_NULL || a->i == b->i;
}

static status collect(exec *x, const compound_node *c, compound_state *s, const plan_node *from, bool right) {
  const value *row;
  status rc;
  TRY(node_open(x, from));
  while ((rc = node_next(x, from, &row)) == HDB_ROW) {
    key_entry *e;
    bool added;
    TRY(key_map_find(&s->rows, row, true, &added, &e));
    mark_payload *mark = key_entry_payload(e);
    mark->keep = c->op != COMPOUND_INTERSECT;
    bool replace = !added && (!c->ordered || mark->from_right != right);
    mark->from_right = right;
    for (int i = 0; replace && i < c->node.columns_n; i++)
      if (!same_value(&row[i], &e->values[i])) TRY(value_copy(&s->rows.memory, &row[i], &e->values[i]));
  }
  if (rc != HDB_DONE) return rc;
  node_close(x, from);
  return HDB_OK;
}

/* INTERSECT keeps, EXCEPT drops what the right side has too. */
static status mark_right(exec *x, const compound_node *c, compound_state *s) {
  const value *row;
  status rc;
  TRY(node_open(x, c->right));
  while ((rc = node_next(x, c->right, &row)) == HDB_ROW) {
    key_entry *e;
    TRY(key_map_find(&s->rows, row, false, NULL, &e));
    if (e) ((mark_payload *)key_entry_payload(e))->keep = c->op == COMPOUND_INTERSECT;
  }
  if (rc != HDB_DONE) return rc;
  node_close(x, c->right);
  return HDB_OK;
}

static status compound_next(exec *x, const plan_node *n, const value **row) {
  const compound_node *c = (const compound_node *)n;
  compound_state *s = node_state_get(x, n);
  if (c->op == COMPOUND_UNION_ALL) {
    status rc = node_next(x, s->on_right ? c->right : c->left, row);
    if (rc != HDB_DONE || s->on_right) return rc;
    s->on_right = true;
    TRY(node_open(x, c->right));
    return node_next(x, c->right, row);
  }
  if (!s->collected) {
    TRY(collect(x, c, s, c->left, false));
    if (c->op == COMPOUND_UNION) TRY(collect(x, c, s, c->right, true));
    else TRY(mark_right(x, c, s));
    TRY(key_map_sort(&s->rows));
    s->collected = true;
  }
  while (s->at < s->rows.entries_n) {
    key_entry *e = s->rows.entries[s->at++];
    if (!((mark_payload *)key_entry_payload(e))->keep) continue;
    *row = e->values;
    return HDB_ROW;
  }
  return HDB_DONE;
}
const node_class compound_class = {"compound", sizeof(compound_state), compound_open, compound_next, compound_close};
