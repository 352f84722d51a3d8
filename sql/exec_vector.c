/* ACCESS_VECTOR: a table's rows in ascending distance from a query vector, for as long as they are asked for.
 *
 * Three sources fill one sorted list of (distance, row id): the graph's walk, the rows that the graph may have wrong (own
 * writes, row ids in the index's log since the view), and, where there is no graph or it has no more to give, a scan.
 * A row leaves the list when the walk has passed its distance; where it is known how many rows will be asked for, when it
 * has passed all of theirs, so that they are in order among themselves whatever the walk finds late.
 * D1  Every row comes from the transaction's own view (cursor_find) and its distance from its own vector: what is
 *     stale in the graph costs time, never a wrong row.
 * D2  A row id is looked at once (`met`), so no row comes twice and no source hides another's.
 * D3  Rows without a vector have distance NULL and come first (or last), by row id, as ORDER BY has it.
 * The walk gives up for a scan when its filter has refused too many rows: it never costs much more than the scan.
 * What can fail: memory, the cursor, a condition, a query that is no vector of the column's dimensions.
 * Cost: a scan one distance a row; a walk one an ef candidate, with a filter one row read for each.
 */
#include <math.h>
#include <stdlib.h>

#include "sql/exec_access.h"
#include "sql/time.h"
#include "sql/vector_access.h"

typedef struct found {
  double distance; /* an infinity: NULL */
  int64_t id;
  slice row; /* a copy, when it is worth it; n 0: looked up again */
} found;

enum {
  SCANNED_MOST = 500000,
  AHEAD_MAX = 24,
  BATCH = 64,
  COPIED_ROWS = 128,
  COPIED_BYTES = 8192,
  AHEAD_ROWS = HNSW_TOGETHER
};

struct vector_run {
  access_state *s;
  const vector_access *v;
  engine *engine;
  const float *query; /* NULL: every distance is NULL */
  vector_view view;
  vector_index *unserved; /* it has no graph for this view */
  hnsw_search *search;
  found *list; /* from list_at on: to be returned */
  size_t list_at, list_n, list_capacity;
  bool sorted;
  int64_t *met; /* open addressing; the id 0 stands apart */
  size_t met_n, met_slots;
  bool met_zero;
  bool walking, scanned;
  double farthest; /* of a scan: rows behind this are not wanted */
  double frontier; /* nothing nearer comes from the walk any more */
  int64_t need;    /* rows likely to be asked for */
  bool exactly;    /* ... and no more than these */
  bool settled;    /* ... which are known: nothing is taken in between them any more */
  int64_t given;   /* rows returned */
  double query_norm2;
  int64_t asked, accepted, rows, bytes;
  int64_t passed_wanted; /* with filters: the walk has to pass this many nodes, the refused among them */
  int ef, ef_unlike;
  double usual;  /* a query whose nearest is farther is unlike the data; an infinity: no matter */
  bool choosing; /* for EXPLAIN: no scan is made */
  bool filters; /* some rows do not qualify */
  bool gave_up;
  int ahead, pulled;
  bool positioned; /* cursor and slot stand on positioned_id */
  int64_t positioned_id;
  arena copies; /* of rows that were looked at before their turn */
  arena_mark no_copies;
  status failure; /* of the filter */
};

/* ---- row ids already looked at ---- */
static size_t met_place(const vector_run *r, int64_t id) {
  size_t at = ((uint64_t)id * 0x9e3779b97f4a7c15u) >> 20 & (r->met_slots - 1);
  while (r->met[at] && r->met[at] != id) at = (at + 1) & (r->met_slots - 1);
  return at;
}

static bool has_met(const vector_run *r, int64_t id) {
  if (!id) return r->met_zero;
  return r->met_slots && r->met[met_place(r, id)] == id;
}

static status meet(vector_run *r, int64_t id, bool *fresh) {
  *fresh = !has_met(r, id);
  if (!*fresh) return HDB_OK;
  if (!id) {
    r->met_zero = true;
    return HDB_OK;
  }
  if (2 * (r->met_n + 1) > r->met_slots) {
    size_t slots = r->met_slots ? 2 * r->met_slots : 256, old_n = r->met_slots;
    int64_t *old = r->met, *wider = calloc(slots, sizeof *wider);
    if (!wider) return node_no_memory(r->s->x);
    r->met = wider, r->met_slots = slots;
    for (size_t i = 0; i < old_n; i++)
      if (old[i]) wider[met_place(r, old[i])] = old[i];
    free(old);
  }
  r->met[met_place(r, id)] = id;
  r->met_n++;
  return HDB_OK;
}

/* ---- the list ---- */
static int compare_found(const void *x, const void *y) {
  const found *a = x, *b = y;
  if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

static status list_push(vector_run *r, found f) {
  if (r->list_n == r->list_capacity) {
    size_t capacity = r->list_capacity ? 2 * r->list_capacity : 128;
    found *list = realloc(r->list, capacity * sizeof *list);
    if (!list) return node_no_memory(r->s->x);
    r->list = list, r->list_capacity = capacity;
  }
  r->list[r->list_n++] = f;
  return HDB_OK;
}

/* After one push to a sorted list: it moves to its place. */
static void list_settle(vector_run *r) {
  if (!r->sorted) {
    qsort(r->list + r->list_at, r->list_n - r->list_at, sizeof *r->list, compare_found);
    r->sorted = true;
    return;
  }
  size_t at = r->list_n - 1;
  found f = r->list[at];
  for (; at > r->list_at && compare_found(&f, &r->list[at - 1]) < 0; at--) r->list[at] = r->list[at - 1];
  r->list[at] = f;
}

/* A scan needs no more than the rows asked for: what cannot be among them is dropped now and then, and what comes behind
 * the last of them is not taken in. */
static void list_prune(vector_run *r) {
  if (!r->exactly || (int64_t)r->list_n < 2 * r->need + 256) return;
  r->sorted = false;
  list_settle(r);
  r->list_n = (size_t)r->need;
  r->farthest = r->list[r->list_n - 1].distance;
}

/* ---- one row of the view ---- */
static status passes(vector_run *r, bool *pass) {
  const access *a = r->s->a;
  *pass = true;
  for (int i = 0; i < a->filters_n && *pass; i++) {
    int truth;
    TRY(expr_test(r->s->x, a->filters[i].program, &truth));
    *pass = truth == 1;
  }
  return HDB_OK;
}

static status row_distance(vector_run *r, double *distance, bool *wanted) {
  const value *e = slot_column(r->s->slot, r->v->column);
  const float *f;
  int n;
  size_t bytes = (size_t)r->v->key.dimensions * sizeof *f;
  *distance = r->v->nulls_last ? INFINITY : -INFINITY;
  *wanted = e->type != VAL_NULL || !r->v->not_null;
  if (e->type == VAL_NULL || !r->query) return HDB_OK;
  if (e->type == VAL_BLOB && e->n == bytes) {
    f = (const void *)e->p;
  } else {
    TRY(vector_read(e, r->v->key.dimensions, &r->s->x->memory, &f, &n, r->s->x->err));
  }
  size_t floats = (size_t)r->v->key.dimensions;
  if (r->v->key.metric == HNSW_COSINE)
    *distance = vector_cosine_of(f, r->query, r->query_norm2, floats);
  else
    *distance = vector_distance_of((enum hnsw_metric)r->v->key.metric, f, r->query, floats);
  return HDB_OK;
}

/* The slot on the row, if the view has it and it passes. */
static status look_at(vector_run *r, int64_t id, bool *there) {
  access_state *s = r->s;
  uint8_t key[8];
  *there = r->positioned = false;
  if (id < s->rowid_low || id > s->rowid_high) return HDB_OK;
  rowid_encode(key, id);
  *there = cursor_find(s->c, slice_of(key, 8));
  if (!*there)
    return s->c->error == HDB_OK || s->c->error == HDB_NOTFOUND
               ? HDB_OK
               : error_set(s->x->err, s->c->error, "%s", status_text(s->c->error));
  slot_point(s->slot, true, id, s->c->value);
  r->positioned = true;
  r->positioned_id = id;
  return HDB_OK;
}

/* Rows wait until it is known that no nearer one comes: a copy is cheaper than to find them again. */
static void copy_row(vector_run *r, found *f) {
  slice row = r->s->c->value;
  if (!r->exactly || r->list_n - r->list_at >= COPIED_ROWS || row.n > COPIED_BYTES) return;
  const uint8_t *copy = arena_copy(&r->copies, row.p, row.n);
  if (copy) f->row = slice_of(copy, row.n);
}

static status consider(vector_run *r, int64_t id, bool filtered) {
  bool fresh, there, pass = true;
  double distance = 0;
  TRY(meet(r, id, &fresh));
  if (!fresh) return HDB_OK;
  arena_mark mark = arena_save(&r->s->x->memory);
  TRY(look_at(r, id, &there));
  if (there && !filtered) TRY(passes(r, &pass));
  if (there && pass) TRY(row_distance(r, &distance, &pass));
  arena_rewind(&r->s->x->memory, mark);
  if (!there || !pass) return HDB_OK;
  found f = {distance, id, {NULL, 0}};
  copy_row(r, &f);
  return list_push(r, f);
}

static status consider_all(vector_run *r, const row_ids *ids) {
  size_t n = r->list_n;
  for (size_t i = 0; i < ids->n; i++) TRY(consider(r, ids->ids[i], false));
  if (r->list_n == n) return HDB_OK;
  r->sorted = false;
  list_settle(r);
  return HDB_OK;
}

/* ---- the scan ---- */
static status scan_all(vector_run *r) {
  access_state *s = r->s;
  exec *x = s->x;
  r->scanned = true;
  r->positioned = false;
  r->frontier = INFINITY;
  r->farthest = INFINITY;
  uint8_t low[8];
  rowid_encode(low, s->rowid_low);
  for (cursor_seek(s->c, slice_of(low, 8)); s->c->valid; cursor_next(s->c)) {
    int64_t id = rowid_decode(s->c->key.p);
    bool pass;
    if (id > s->rowid_high) break;
    double distance;
    TRY(exec_tick(x));
    if (has_met(r, id)) continue;
    arena_mark mark = arena_save(&x->memory);
    slot_point(s->slot, true, id, s->c->value);
    TRY(passes(r, &pass));
    if (pass) TRY(row_distance(r, &distance, &pass));
    if (pass && !(distance > r->farthest)) {
      TRY(list_push(r, (found){distance, id, {NULL, 0}}));
      list_prune(r);
    }
    arena_rewind(&x->memory, mark);
  }
  r->sorted = false;
  list_settle(r);
  if (s->c->error != HDB_OK) return error_set(x->err, s->c->error, "%s", status_text(s->c->error));
  return HDB_OK;
}

/* ---- the walk ---- */
static void walk_end(vector_run *r) {
  hnsw_search_close(r->search);
  r->search = NULL;
  if (r->walking && !r->scanned && r->given) vector_view_count(&r->view, false);
  if (r->walking) vector_view_leave(&r->view);
  r->walking = false;
}

/* Of rows that qualify: what ef is for is that the walk passes so many nodes, which it does through those that do not. */
#define FILTERED_EF(need) ((need) + (need) / 4 + 4)

/* What is left of the walk against a scan, by what has passed so far, in microseconds: a row asked for costs about one, a
 * scanned one 0.12 and its bytes, and its distance 0.1 when it qualifies. */
static bool scan_is_cheaper(const vector_run *r) {
  if (r->asked % 64 || r->accepted >= r->ef || r->s->x->db->vector.strategy == VECTOR_GRAPH) return false;
  double share = ((double)r->accepted + 1) / (double)r->asked;
  double scan = (double)r->rows * (0.12 + 0.1 * share) + (double)r->bytes * 0.00015;
  return (double)(r->ef - r->accepted) / share > scan;
}

/* The filter inside the walk: row and conditions, by the view. Afterwards the walk's own rows need no second test. */
static bool walk_filter(void *context, int64_t id) {
  vector_run *r = context;
  bool there = false, pass = false;
  if (r->gave_up || r->failure != HDB_OK) return true; /* to an end, quickly */
  if (has_met(r, id)) return false;
  r->asked++;
  if (scan_is_cheaper(r)) {
    r->gave_up = true;
    return true;
  }
  arena_mark mark = arena_save(&r->s->x->memory);
  r->failure = exec_tick(r->s->x);
  if (r->failure == HDB_OK) r->failure = look_at(r, id, &there);
  if (r->failure == HDB_OK && there) r->failure = passes(r, &pass);
  arena_rewind(&r->s->x->memory, mark);
  r->accepted += pass;
  return pass || r->failure != HDB_OK;
}

static status look_at_touched(vector_run *r) {
  row_ids ids = {0};
  status rc = vector_view_touched(&r->view, &ids);
  if (rc == HDB_NOTFOUND) {
    r->gave_up = true;
    rc = HDB_OK;
  } else if (rc == HDB_OK) {
    row_ids_sort(&ids);
    rc = consider_all(r, &ids);
  } else {
    rc = node_no_memory(r->s->x);
  }
  free(ids.ids);
  return rc;
}

/* The rows that come next wait for memory together. */
static void expect_ids(void *context, const int64_t *ids, size_t n) {
  vector_run *r = context;
  uint8_t bytes[AHEAD_ROWS][8];
  slice keys[AHEAD_ROWS];
  if (r->gave_up || r->failure != HDB_OK) return;
  for (size_t i = 0; i < n; i++) {
    rowid_encode(bytes[i], ids[i]);
    keys[i] = slice_of(bytes[i], 8);
  }
  r->positioned = false;
  cursor_expect(r->s->c, keys, (int)n);
}

static void expect_rows(vector_run *r, int64_t first) {
  int64_t ids[AHEAD_ROWS] = {first};
  size_t most = r->exactly && r->need < AHEAD_ROWS ? (size_t)r->need : AHEAD_ROWS - 1;
  expect_ids(r, ids, 1 + hnsw_search_coming(r->search, ids + 1, most));
}

/* One more from the graph into the heap. */
static status walk_step(vector_run *r) {
  int64_t id;
  double distance;
  if (r->pulled++ % BATCH == 0) TRY(look_at_touched(r));
  bool more = !r->gave_up && hnsw_search_next(r->search, &id, &distance);
  TRY(r->failure);
  if (!more || r->gave_up) {
    if (!r->choosing) vector_view_count(&r->view, r->gave_up);
    r->scanned = true;
    walk_end(r);
    return r->choosing ? HDB_OK : scan_all(r);
  }
  double bound = hnsw_search_bound(r->search);
  r->frontier = isinf(bound) ? bound : bound - 1e-5 * (1 + fabs(bound)); /* the walk ranks in float32 */
  size_t n = r->list_n;
  if (!r->filters && r->pulled % (AHEAD_ROWS - 1) == 1) expect_rows(r, id);
  TRY(consider(r, id, r->filters));
  if (r->list_n == n) return HDB_OK;
  list_settle(r);
  r->ahead++;
  return HDB_OK;
}

/* Of so many rows, those within the bounds of row ids, as if these lay evenly. */
static int64_t rows_in_bounds(vector_run *r, int64_t rows) {
  access_state *s = r->s;
  if (s->rowid_low == INT64_MIN && s->rowid_high == INT64_MAX) return rows;
  r->positioned = false;
  cursor_first(s->c);
  if (!s->c->valid) return 0;
  double first = (double)rowid_decode(s->c->key.p);
  cursor_last(s->c);
  if (!s->c->valid) return rows;
  double last = (double)rowid_decode(s->c->key.p), low = (double)s->rowid_low, high = (double)s->rowid_high;
  double share = ((high < last ? high : last) - (low > first ? low : first) + 1) / (last - first + 1);
  return share <= 0 ? 0 : share >= 1 ? rows : (int64_t)ceil(share * (double)rows);
}

/* A walk that passes all rows beside them, against a scan of them alone. */
static bool bounds_are_narrow(const vector_run *r, int64_t rows, int64_t bytes, int64_t inside) {
  if (inside == rows || r->s->x->db->vector.strategy == VECTOR_GRAPH) return false;
  double share = (double)(inside + 1) / (double)rows;
  return (double)FILTERED_EF(r->need) / share > share * ((double)rows * 0.22 + (double)bytes * 0.00015);
}

typedef struct own_writes {
  row_ids ids;
  bool whole, failed;
} own_writes;
static void own_write(void *context, slice key, bool whole) {
  own_writes *o = context;
  if (whole || key.n != 8)
    o->whole = true;
  else if (!row_ids_add(&o->ids, rowid_decode(key.p)))
    o->failed = true;
}

/* Measured for ten rows; more of them need more. */
static int ef_for_need(const vector_run *r, int measured) {
  int64_t ef = measured ? measured : CALIBRATION_EF_MOST;
  if (ef < 2 * r->need + 12) ef = 2 * r->need + 12;
  return ef > 4096 ? 4096 : (int)ef;
}

/* No ef reaches the target (many equal vectors, say), and the rows can be scanned. */
static bool is_hopeless(const vector_run *r, int measured) {
  return !measured && r->rows <= SCANNED_MOST && r->s->x->db->vector.strategy != VECTOR_GRAPH;
}

static bool derive_ef(vector_run *r) {
  const hdb *db = r->s->x->db;
  vector_calibration c = vector_view_calibration(&r->view);
  double target = db->vector.recall_target > 0 ? db->vector.recall_target : 0.95;
  int measured = vector_calibration_ef(&c, target);
  r->usual = c.rows && !db->vector.ef_search ? c.usual : INFINITY;
  r->ef_unlike = vector_calibration_ef_unlike(&c, target);
  r->ef = db->vector.ef_search > 0 ? db->vector.ef_search : ef_for_need(r, measured);
  return db->vector.ef_search > 0 || !is_hopeless(r, measured);
}

/* What the walk has met is all unusually far: the query is unlike the data, and the walk may have ended somewhere else than
 * where its nearest are. It is spread once, or given up. Before the first row is returned. */
static void spread_when_unlike(vector_run *r) {
  if (!r->walking || r->scanned || r->given || r->usual == INFINITY) return;
  double nearest = hnsw_search_nearest(r->search), norm = sqrt(r->query_norm2);
  if (r->v->key.metric == HNSW_IP && norm > 0) nearest /= norm;
  if (!(nearest > r->usual)) return;
  r->usual = INFINITY;
  r->frontier = -INFINITY;
  r->ahead = 0;
  r->gave_up = is_hopeless(r, r->ef_unlike);
  if (r->gave_up) return;
  r->passed_wanted = ef_for_need(r, r->ef_unlike);
  hnsw_search_spread(r->search, r->filters ? r->ef : (int)r->passed_wanted);
}

/* ---- on a branch: main at the branch point, and whatever the branches down to here have written ---- */
typedef struct lineage {
  struct {
    uint32_t id, parent;
    int64_t point;
  } branches[64];
  int n;
} lineage;
static status lineage_add(void *context, const branch_info *b) {
  lineage *l = context;
  if (l->n == (int)(sizeof l->branches / sizeof *l->branches)) return HDB_FULL;
  l->branches[l->n].id = b->id, l->branches[l->n].parent = b->parent, l->branches[l->n++].point = b->point;
  return HDB_OK;
}
static status branch_key(void *context, slice key) {
  own_write(context, key, false);
  return HDB_OK;
}

/* The time of main that shows through; whole: not to be told. */
static status branch_base(vector_run *r, txn *t, own_writes *own, int64_t *time) {
  lineage l = {.n = 0};
  uint32_t id = txn_branch(t);
  if (branch_each(r->engine, lineage_add, &l) != HDB_OK) own->whole = true;
  for (int steps = 0; id != BRANCH_MAIN && !own->whole; steps++) {
    int at = 0;
    while (at < l.n && l.branches[at].id != id) at++;
    if (at == l.n || steps == l.n) {
      own->whole = true;
      break;
    }
    status rc = branch_keys(t, id, r->s->a->table->tree, branch_key, own);
    if (rc != HDB_OK) return error_set(r->s->x->err, rc, "%s", status_text(rc));
    if (l.branches[at].point < *time) *time = l.branches[at].point;
    id = l.branches[at].parent;
  }
  return HDB_OK;
}

/* Enters the index; false: scan. */
static status walk_begin(vector_run *r, txn *t, bool *walks) {
  access_state *s = r->s;
  own_writes own = {0};
  row_ids unplaced = {0};
  int64_t rows, bytes, time;
  status rc = HDB_OK;
  *walks = false;
  TRY(exec_time(s->x, s->a->time, &time)); /* AS OF: committed rows of then */
  txn_estimate(t, s->a->table->tree, &rows, &bytes);
  if (!r->query || rows < VECTOR_ROWS_MIN || r->need > rows / 4 ||
      s->x->db->vector.strategy == VECTOR_EXACT || !vector_fits_graph(r->query, r->v->key.dimensions) || s->x->db->pragmas.policy == TXN_SERIALIZABLE)
    return HDB_OK;
  int64_t inside = rows_in_bounds(r, rows);
  r->rows = inside, r->bytes = (int64_t)((double)bytes * (double)inside / (double)rows);
  if (bounds_are_narrow(r, rows, bytes, inside)) return HDB_OK;
  vector_index *i = vector_index_get(r->engine, &r->v->key, r->v->label);
  if (!i) return HDB_OK;
  int64_t view_time = time ? time : txn_view_time(t);
  if (txn_branch(t) != BRANCH_MAIN)
    CHECK(branch_base(r, t, &own, &view_time));
  else if (!time)
    txn_each_write(t, s->a->table->tree, own_write, &own);
  if (own.failed) CHECK(node_no_memory(s->x));
  if (own.whole || own.ids.n > (size_t)rows / 2) goto out;
  if (!vector_view_enter(i, view_time, &r->view)) {
    r->unserved = i;
    goto out;
  }
  r->walking = true;
  if (!derive_ef(r)) goto out;
  r->passed_wanted = r->ef;
  if (r->filters && !s->x->db->vector.ef_search && r->ef > FILTERED_EF(r->need)) r->ef = (int)FILTERED_EF(r->need);
  r->search =
      hnsw_search_open(vector_view_graph(&r->view), r->query, r->ef, r->filters ? walk_filter : NULL, r);
  if (!r->search) CHECK(node_no_memory(s->x));
  if (r->filters) hnsw_search_announce(r->search, expect_ids);
  CHECK(consider_all(r, &own.ids));
  if (vector_view_unplaced(&r->view, &unplaced) != HDB_OK) CHECK(node_no_memory(s->x));
  CHECK(consider_all(r, &unplaced));
  *walks = true;
out:
  free(own.ids.ids);
  free(unplaced.ids);
  return rc;
}

/* ---- the access ---- */
static status read_query(vector_run *r) {
  exec *x = r->s->x;
  const value *q;
  int n;
  TRY(expr_eval(x, r->v->query, &q));
  r->query = NULL;
  if (q->type == VAL_NULL) return HDB_OK;
  int want = r->v->key.dimensions;
  bool doubles = q->type == VAL_BLOB && q->n == 8 * (size_t)want;
  const float *floats;
  TRY(vector_read(q, doubles ? want : 0, &r->s->memory, &floats, &n, x->err));
  if (n != want)
    return error_set(x->err, HDB_ERROR, "different vector dimensions %d and %d", r->v->swapped ? n : want,
                     r->v->swapped ? want : n);
  r->query = arena_copy(&r->s->memory, floats, (size_t)n * sizeof *floats);
  if (r->query) r->query_norm2 = vector_norm2_of(r->query, (size_t)n);
  return r->query ? HDB_OK : node_no_memory(x);
}

static status read_need(vector_run *r) {
  const value *v;
  r->need = 64;
  r->exactly = false;
  if (!r->v->limit) return HDB_OK;
  TRY(expr_eval(r->s->x, r->v->limit, &v));
  if (v->type != VAL_INTEGER || v->i < 0) return HDB_OK; /* LIMIT itself says what is wrong with it */
  int64_t need = v->i, offset = 0;
  if (r->v->offset) {
    TRY(expr_eval(r->s->x, r->v->offset, &v));
    if (v->type == VAL_INTEGER && v->i > 0) offset = v->i;
  }
  r->exactly = true;
  r->need = need > INT32_MAX || offset > INT32_MAX ? INT32_MAX : need + offset;
  return HDB_OK;
}

static void run_reset(vector_run *r) {
  enum { SLOTS_KEPT = 1024 };
  walk_end(r);
  if (r->met_slots > SLOTS_KEPT) {
    free(r->met);
    r->met = NULL;
    r->met_slots = 0;
  } else if (r->met_n) {
    memset(r->met, 0, r->met_slots * sizeof *r->met);
  }
  r->met_n = 0;
  r->met_zero = false;
  r->list_at = r->list_n = 0;
  r->copies.failed = false;
  arena_rewind(&r->copies, r->no_copies);
  r->sorted = true;
  r->given = 0;
  r->scanned = r->gave_up = false;
  r->settled = false;
  r->unserved = NULL;
  r->usual = INFINITY;
  r->frontier = -INFINITY;
  r->asked = r->accepted = 0;
  r->ahead = r->pulled = 0;
  r->failure = HDB_OK;
}

static status run_begin(vector_run *r, bool *walks) {
  const access *a = r->s->a;
  r->filters = a->filters_n > 0 || a->low.present || a->high.present;
  const database *d = &r->s->x->db->databases[a->database];
  r->engine = d->engine;
  TRY(read_query(r));
  TRY(read_need(r));
  if (r->need == 0) {
    r->s->done = true;
    return HDB_OK;
  }
  TRY(walk_begin(r, d->txn, walks));
  if (!*walks) walk_end(r);
  return HDB_OK;
}

status vector_open(access_state *s) {
  vector_run *r = s->vector;
  bool walks = false;
  if (!r) {
    r = arena_zero(&s->x->lifetime, sizeof *r);
    if (!r) return node_no_memory(s->x);
    r->s = s;
    r->v = s->a->vector;
    s->vector = r;
  }
  run_reset(r);
  if (!s->done) TRY(run_begin(r, &walks));
  if (s->done || walks) return HDB_OK;
  if (r->unserved) vector_index_scanning(r->unserved, true);
  status rc = scan_all(r);
  if (r->unserved) vector_index_scanning(r->unserved, false);
  return rc;
}

/* Nothing that comes later belongs before the rows at the list's head. */
static bool head_is_final(const vector_run *r) {
  size_t waiting = r->list_n - r->list_at, wanted = 1;
  if (r->scanned || (r->settled && waiting)) return true;
  if (r->exactly && r->given < r->need) wanted = (size_t)(r->need - r->given);
  if (waiting < wanted) return false;
  if (r->exactly && r->walking && r->filters && r->asked < r->passed_wanted) return false;
  if (r->exactly && r->walking && hnsw_search_pauses(r->search))
    return true; /* the ef nearest were measured: that is what ef says */
  return r->list[r->list_at + wanted - 1].distance <= r->frontier || r->ahead > AHEAD_MAX + r->need;
}

status vector_step(access_state *s) {
  vector_run *r = s->vector;
  bool there = true;
  r->positioned = false; /* the statement may have written since */
  for (;;) {
    while (!head_is_final(r)) TRY(walk_step(r));
    if (r->usual != INFINITY) {
      spread_when_unlike(r);
      r->usual = INFINITY;
      continue;
    }
    if (r->list_at == r->list_n) return HDB_DONE;
    r->settled = r->exactly;
    found f = r->list[r->list_at++];
    r->given++;
    if (r->ahead) r->ahead--;
    if (f.row.n)
      slot_point(s->slot, true, f.id, f.row);
    else if (r->positioned && r->positioned_id == f.id)
      slot_point(s->slot, true, f.id, s->c->value);
    else
      TRY(look_at(r, f.id, &there));
    if (there) return HDB_ROW;
  }
}

/* As vector_open and vector_step go, but a scan is not made and no row returned. */
static status choose(vector_run *r, enum vector_choice *choice) {
  bool walks;
  r->choosing = true;
  TRY(run_begin(r, &walks));
  if (r->s->done || !r->query) return HDB_OK;
  *choice = !r->unserved ? VECTOR_SCANS : vector_index_is_over(r->unserved) ? VECTOR_SCANS_OVER : VECTOR_SCANS_UNBUILT;
  if (!walks) return HDB_OK;
  while (!head_is_final(r)) TRY(walk_step(r));
  spread_when_unlike(r);
  while (r->filters && !r->gave_up && !head_is_final(r)) TRY(walk_step(r));
  *choice = r->gave_up ? VECTOR_SCANS_FEW : VECTOR_WALKS;
  return HDB_OK;
}

status vector_choose(exec *x, const access *a, enum vector_choice *choice) {
  access_state s;
  *choice = VECTOR_UNKNOWN;
  status rc = access_prepare(x, a, &s);
  if (rc == HDB_OK) rc = rowid_bounds(&s);
  vector_run *r = arena_zero(&x->lifetime, sizeof *r);
  if (!r) rc = node_no_memory(x);
  if (rc == HDB_OK) {
    r->s = &s;
    r->v = a->vector;
    s.vector = r;
    run_reset(r);
    if (!s.done) rc = choose(r, choice);
  }
  access_release(&s);
  if (s.c) s.slot->cursor = NULL;
  if (rc == HDB_INTERRUPT || rc == HDB_NOMEM) return rc;
  if (rc != HDB_OK) { /* it would fail: that shows when it runs */
    error_clear(x->err);
    *choice = VECTOR_UNKNOWN;
  }
  return HDB_OK;
}

void vector_release(access_state *s) {
  vector_run *r = s->vector;
  run_reset(r);
  free(r->met);
  r->met = NULL;
  r->met_slots = 0;
  arena_clear(&r->copies);
  free(r->list);
  r->list = NULL;
  r->list_capacity = 0;
  s->vector = NULL;
}
