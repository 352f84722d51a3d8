/* Rows of one table, merged: decoded on four sides, compared by column, written through statements of the target.
 *
 * First it is decided for every key what becomes of it, then it is written: what goes, and rows whose unique values move,
 * out of the way first, so that values may change places between rows; then what comes.
 * Cost: a copy of each row that is written.
 */
#include <stdlib.h>
#include <strings.h>

#include "kv/base/key.h"
#include "sql/catalog_build.h"
#include "sql/merge.h"

enum { SOURCE, SOURCE_BASE, TARGET, TARGET_BASE, SIDES };

typedef struct reader {
  cursor *c;
  const table *t; /* NULL: the table was not there */
  slot slot;
  value *own;
  int *map;       /* target's column -> this side's, -1 */
  bool there;
} reader;

typedef struct planned {
  uint8_t which; /* MERGE_INSERT, MERGE_UPDATE, MERGE_DELETE */
  bool moves;    /* an update of a unique value: taken out and put in again */
  value *key;    /* row id, or the columns of the PRIMARY KEY */
  value *row;    /* the target's columns; NULL: MERGE_DELETE */
} planned;

typedef struct row_merge {
  merge *m;
  arena memory;  /* of the plan */
  buf plan;      /* of planned */
  bool *is_unique; /* by column: in a unique index beside the key */
  const table *t; /* the target's */
  reader sides[SIDES];
  value *row;     /* the result, the target's columns */
  const char *rowid_name;
  int columns_n;
} row_merge;

/* The column of t that the target's column i is, also when one of them has been renamed since: then those before it stand
 * alike and neither side has the other's name. */
static int column_of(const table *t, const table *target, int i) {
  int found = table_column(t, target->columns[i].name);
  if (found >= 0 || i >= t->columns_n || table_column(target, t->columns[i].name) >= 0) return found;
  const char *a = t->columns[i].type, *b = target->columns[i].type;
  for (int c = 0; c < i; c++)
    if (strcasecmp(t->columns[c].name, target->columns[c].name) != 0 && table_column(target, t->columns[c].name) >= 0) return -1;
  return strcasecmp(a ? a : "", b ? b : "") == 0 ? i : -1;
}

/* Columns of both that are not the other's: which is which cannot be told. */
static status check_columns(row_merge *k, const reader *r, const table *base) {
  int lost = 0, gained = 0;
  for (int i = 0; i < k->columns_n; i++) gained += r->map[i] < 0 && base && table_column(base, k->t->columns[i].name) < 0;
  for (int i = 0; i < r->t->columns_n; i++) {
    bool used = false;
    for (int c = 0; c < k->columns_n; c++) used = used || r->map[c] == i;
    lost += !used && base && table_column(base, r->t->columns[i].name) >= 0;
  }
  if (!lost || !gained) return HDB_OK;
  return error_set(&k->m->db->err, HDB_ERROR, "not supported yet: merging a table whose columns were renamed and dropped (%s)", k->t->name);
}

static status reader_open(row_merge *k, int side, merge_side *s, const table *t) {
  reader *r = &k->sides[side];
  r->t = t;
  if (!t) return HDB_OK;
  status rc = cursor_open(s->t, t->tree, s->as_of, &r->c);
  if (rc != HDB_OK) return error_set(&k->m->db->err, rc, "%s", status_text(rc));
  r->own = calloc((size_t)t->columns_n + 1, sizeof *r->own);
  r->map = calloc((size_t)k->columns_n + 1, sizeof *r->map);
  if (!r->own || !r->map) return sql_nomem(&k->m->db->err);
  r->slot = (slot){.own = r->own, .columns = r->own, .columns_n = t->columns_n};
  slot_set_table(&r->slot, t, 0);
  for (int i = 0; i < k->columns_n; i++) r->map[i] = column_of(t, k->t, i);
  return HDB_OK;
}

static void reader_close(reader *r) {
  cursor_close(r->c);
  free(r->own);
  free(r->map);
}

static status reader_seek(row_merge *k, reader *r, slice key) {
  r->there = false;
  if (!r->t) return HDB_OK;
  r->there = cursor_find(r->c, key);
  if (!r->there) return r->c->error == HDB_OK ? HDB_OK : error_set(&k->m->db->err, r->c->error, "%s", status_text(r->c->error));
  if (record_check(r->c->value) != HDB_OK) return error_set(&k->m->db->err, HDB_CORRUPT, "database disk image is malformed");
  slot_set_record(&r->slot, r->t->without_rowid || key.n != 8 ? 0 : rowid_decode(key.p), r->c->value);
  return HDB_OK;
}

/* The target's column i on this side; a column that it lacks has the target's default there. */
static value column_at(const row_merge *k, reader *r, int i) {
  if (r->map[i] >= 0) return *slot_column(&r->slot, r->map[i]);
  return k->t->missing ? k->t->missing[i] : value_null();
}

static bool same_value(const value *a, const value *b) {
  if (a->type != b->type) return false;
  switch (a->type) {
  case VAL_NULL: return true;
  case VAL_INTEGER: return a->i == b->i;
  case VAL_REAL: return memcmp(&a->r, &b->r, sizeof a->r) == 0;
  default: return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
  }
}

static bool is_written(const row_merge *k, int i) { return !k->t->columns[i].generated; }

static bool same_rows(row_merge *k, int a, int b) {
  reader *x = &k->sides[a], *y = &k->sides[b];
  if (x->there != y->there) return false;
  for (int i = 0; x->there && i < k->columns_n; i++) {
    value u = column_at(k, x, i), v = column_at(k, y, i);
    if (is_written(k, i) && !same_value(&u, &v)) return false;
  }
  return true;
}

/* ---- statements ---- */

static void put_key_condition(row_merge *k, buf *b) {
  const index_ *p = k->t->primary;
  buf_text(b, " WHERE ");
  if (!k->t->without_rowid) {
    buf_quoted_name(b, k->rowid_name);
    buf_text(b, " = ?");
    return;
  }
  for (int i = 0; i < p->key_columns_n; i++) {
    buf_text(b, i ? " AND " : "");
    buf_quoted_name(b, k->t->columns[p->columns[i].column].name);
    buf_text(b, " = ?");
  }
}

static void put_insert(row_merge *k, buf *b) {
  int n = 0;
  buf_text(b, "INSERT INTO main.");
  buf_quoted_name(b, k->t->name);
  buf_byte(b, '(');
  if (!k->t->without_rowid && k->t->rowid_column < 0) buf_quoted_name(b, k->rowid_name), n++;
  for (int i = 0; i < k->columns_n; i++) {
    if (!is_written(k, i)) continue;
    if (n++) buf_byte(b, ',');
    buf_quoted_name(b, k->t->columns[i].name);
  }
  buf_text(b, ") VALUES(");
  for (int i = 0; i < n; i++) buf_text(b, i ? ",?" : "?");
  buf_byte(b, ')');
}

static void put_update(row_merge *k, buf *b) {
  int n = 0;
  buf_text(b, "UPDATE main.");
  buf_quoted_name(b, k->t->name);
  buf_text(b, " SET ");
  for (int i = 0; i < k->columns_n; i++) {
    if (!is_written(k, i)) continue;
    if (n++) buf_byte(b, ',');
    buf_quoted_name(b, k->t->columns[i].name);
    buf_text(b, "=?");
  }
  put_key_condition(k, b);
}

static status prepare(row_merge *k, int which) {
  hdb *db = k->m->db;
  buf b = BUF_INIT;
  size_t tail;
  if (which == MERGE_INSERT) {
    put_insert(k, &b);
  } else if (which == MERGE_UPDATE) {
    put_update(k, &b);
  } else {
    buf_text(&b, "DELETE FROM main.");
    buf_quoted_name(&b, k->t->name);
    put_key_condition(k, &b);
  }
  status rc = buf_failed(&b) ? sql_nomem(&db->err) : sql_statement_new(db, buf_slice(&b), &k->m->statements[which], &tail);
  buf_free(&b);
  return rc;
}

static int bind_key(row_merge *k, slice key, value *to) {
  if (!k->t->without_rowid) {
    to[0] = value_int(rowid_decode(key.p));
    return 1;
  }
  const index_ *p = k->t->primary;
  reader *from = k->sides[TARGET].there ? &k->sides[TARGET] : &k->sides[SOURCE];
  for (int i = 0; i < p->key_columns_n; i++) to[i] = column_at(k, from, p->columns[i].column);
  return p->key_columns_n;
}

static status write_row(row_merge *k, int which, const planned *p) {
  hdb *db = k->m->db;
  if (!k->m->statements[which]) TRY(prepare(k, which));
  hdb_stmt *s = k->m->statements[which];
  int n = 0, keys = k->t->without_rowid ? k->t->primary->key_columns_n : 1;
  if (which == MERGE_INSERT && !k->t->without_rowid && k->t->rowid_column < 0) s->parameters[n++] = p->key[0];
  for (int i = 0; which != MERGE_DELETE && i < k->columns_n; i++)
    if (is_written(k, i)) s->parameters[n++] = p->row[i];
  for (int i = 0; which != MERGE_INSERT && i < keys; i++) s->parameters[n++] = p->key[i];
  unsigned mask = db->trace_mask;
  int (*authorize)(void *, int, const char *, const char *, const char *, const char *) = db->authorize;
  db->trace_mask = 0, db->authorize = NULL;
  status rc;
  while ((rc = sql_statement_step(s)) == HDB_ROW) {}
  db->trace_mask = mask, db->authorize = authorize;
  return rc == HDB_DONE ? HDB_OK : rc;
}

/* ---- the plan ---- */

static status copy_values(row_merge *k, const value *from, int n, value **out) {
  *out = arena_alloc(&k->memory, ((size_t)n + 1) * sizeof **out);
  if (!*out) return sql_nomem(&k->m->db->err);
  for (int i = 0; i < n; i++)
    if (value_copy(&k->memory, &from[i], &(*out)[i]) != HDB_OK) return sql_nomem(&k->m->db->err);
  return HDB_OK;
}

static bool moves_unique(row_merge *k) {
  reader *t = &k->sides[TARGET];
  for (int i = 0; i < k->columns_n; i++) {
    value before = column_at(k, t, i);
    if (k->is_unique[i] && !same_value(&before, &k->row[i])) return true;
  }
  return false;
}

/* k->row is the result. */
static status plan_row(row_merge *k, int which, slice key) {
  value parts[64];
  planned p = {.which = (uint8_t)which};
  if (k->t->without_rowid && k->t->primary->key_columns_n > 64)
    return error_set(&k->m->db->err, HDB_ERROR, "not supported yet: merging the rows of %s", k->t->name);
  TRY(copy_values(k, parts, bind_key(k, key, parts), &p.key));
  if (which != MERGE_DELETE) TRY(copy_values(k, k->row, k->columns_n, &p.row));
  p.moves = which == MERGE_UPDATE && moves_unique(k);
  buf_append(&k->plan, &p, sizeof p);
  return buf_failed(&k->plan) ? sql_nomem(&k->m->db->err) : HDB_OK;
}

static status write_plan(row_merge *k) {
  const planned *list = (const planned *)k->plan.p;
  size_t n = k->plan.n / sizeof *list;
  for (size_t i = 0; i < n; i++)
    if (list[i].which == MERGE_DELETE || list[i].moves) TRY(write_row(k, MERGE_DELETE, &list[i]));
  for (size_t i = 0; i < n; i++)
    if (list[i].which == MERGE_UPDATE && !list[i].moves) TRY(write_row(k, MERGE_UPDATE, &list[i]));
  for (size_t i = 0; i < n; i++)
    if (list[i].which == MERGE_INSERT || list[i].moves) TRY(write_row(k, MERGE_INSERT, &list[i]));
  return HDB_OK;
}

/* An index over expressions may look at any column. */
static void find_unique(row_merge *k) {
  for (const index_ *i = k->t->indexes; i; i = i->next) {
    if (!i->unique || i->is_primary) continue;
    bool any = i->where != NULL;
    for (int c = 0; c < i->key_columns_n; c++) {
      int column = i->columns[c].column;
      if (column >= 0 && !k->t->columns[column].generated) k->is_unique[column] = true;
      else any = true;
    }
    for (int c = 0; any && c < k->columns_n; c++) k->is_unique[c] = true;
  }
}

/* ---- one row ---- */

static status conflict_key(row_merge *k, slice key, value *out) {
  if (!k->t->without_rowid) {
    *out = value_int(rowid_decode(key.p));
    return HDB_OK;
  }
  value parts[64];
  int n = k->t->primary->key_columns_n > 64 ? 64 : bind_key(k, key, parts);
  buf b = BUF_INIT;
  for (int i = 0; i < n; i++) {
    slice text;
    arena scratch = ARENA_INIT;
    if (value_to_text(&parts[i], &scratch, &text) == HDB_OK) buf_printf(&b, "%s%.*s", i ? "," : "", (int)text.n, (const char *)text.p);
    arena_clear(&scratch);
  }
  value text = value_text(b.n ? (const char *)b.p : "", b.n);
  status rc = value_copy(&k->m->memory, &text, out);
  buf_free(&b);
  return rc == HDB_OK ? rc : sql_nomem(&k->m->db->err);
}

static status note_conflict(row_merge *k, slice key, int column) {
  value row_key, values[3];
  static const int sides[3] = {SOURCE_BASE, SOURCE, TARGET};
  TRY(conflict_key(k, key, &row_key));
  for (int i = 0; i < 3; i++) {
    reader *r = &k->sides[sides[i]];
    if (column >= 0) values[i] = r->there ? column_at(k, r, column) : value_null();
    else values[i] = r->there ? value_text("row", 3) : value_text("no row", 6);
  }
  k->m->result->conflicts++;
  return conflict_add(k->m->db, k->t->name, &row_key, column >= 0 ? k->t->columns[column].name : NULL, &values[0], &values[1], &values[2]);
}

static void take_row(row_merge *k, int side) {
  for (int i = 0; i < k->columns_n; i++) k->row[i] = column_at(k, &k->sides[side], i);
}

static status write_source(row_merge *k, slice key) {
  bool source = k->sides[SOURCE].there, target = k->sides[TARGET].there;
  merge_result *r = k->m->result;
  if (!source && !target) return HDB_OK;
  if (!source) {
    r->deleted++;
    return plan_row(k, MERGE_DELETE, key);
  }
  take_row(k, SOURCE);
  *(target ? &r->updated : &r->inserted) += 1;
  return plan_row(k, target ? MERGE_UPDATE : MERGE_INSERT, key);
}

/* Both changed it, differently; all four rows are there (the bases may be). */
static status merge_columns(row_merge *k, slice key) {
  reader *s = &k->sides[SOURCE], *sb = &k->sides[SOURCE_BASE], *t = &k->sides[TARGET], *tb = &k->sides[TARGET_BASE];
  bool any = false;
  for (int i = 0; i < k->columns_n; i++) {
    value theirs = column_at(k, s, i), ours = column_at(k, t, i);
    value theirs_base = sb->there ? column_at(k, sb, i) : value_null(), ours_base = tb->there ? column_at(k, tb, i) : value_null();
    k->row[i] = ours;
    if (!is_written(k, i) || same_value(&theirs, &ours)) continue;
    if (sb->there && same_value(&theirs, &theirs_base)) continue;
    if (!(tb->there && same_value(&ours, &ours_base))) {
      TRY(note_conflict(k, key, i));
      if (k->m->options->strategy != MERGE_BRANCH_WINS) continue;
    }
    k->row[i] = theirs;
    any = true;
  }
  if (!any) return HDB_OK;
  k->m->result->updated++;
  return plan_row(k, MERGE_UPDATE, key);
}

static status merge_row(row_merge *k, slice key) {
  for (int i = 0; i < SIDES; i++) TRY(reader_seek(k, &k->sides[i], key));
  if (same_rows(k, SOURCE, SOURCE_BASE) || same_rows(k, SOURCE, TARGET)) return HDB_OK;
  if (same_rows(k, TARGET, TARGET_BASE)) return write_source(k, key);
  if (k->sides[SOURCE].there && k->sides[TARGET].there) return merge_columns(k, key);
  TRY(note_conflict(k, key, -1));
  return k->m->options->strategy == MERGE_BRANCH_WINS ? write_source(k, key) : HDB_OK;
}

status merge_rows(merge *m, const table *source, const table *source_base, const table *target, const table *target_base) {
  row_merge k = {.m = m, .t = target, .columns_n = target->columns_n};
  status rc = HDB_OK;
  k.rowid_name = target->rowid_column >= 0 ? target->columns[target->rowid_column].name : table_rowid_name(target);
  if (source->without_rowid != target->without_rowid || !k.rowid_name)
    return error_set(&m->db->err, HDB_ERROR, "not supported yet: merging the rows of %s", target->name);
  k.row = calloc((size_t)target->columns_n + 1, sizeof *k.row);
  k.is_unique = calloc((size_t)target->columns_n + 1, sizeof *k.is_unique);
  if (!k.row || !k.is_unique) CHECK(sql_nomem(&m->db->err));
  find_unique(&k);
  CHECK(reader_open(&k, SOURCE, &m->source, source));
  CHECK(reader_open(&k, SOURCE_BASE, &m->source_base, source_base));
  CHECK(reader_open(&k, TARGET, &m->target, target));
  CHECK(reader_open(&k, TARGET_BASE, &m->target_base, target_base));
  CHECK(check_columns(&k, &k.sides[SOURCE], target_base));
  for (size_t i = 0; i < m->keys_n; i++) CHECK(merge_row(&k, m->keys[i]));
  CHECK(write_plan(&k));
out:
  arena_clear(&k.memory);
  buf_free(&k.plan);
  free(k.is_unique);
  for (int i = 0; i < SIDES; i++) reader_close(&k.sides[i]);
  free(k.row);
  for (int i = 0; i < MERGE_STATEMENTS; i++) {
    sql_statement_discard(m->statements[i]);
    m->statements[i] = NULL;
  }
  return rc;
}
