/* Three-way merge of what an SQLite tool changed in app.db: definitions first, then rows (mirror_merge_rows.c).
 *
 * Base: main as of the file's stamp. Theirs: the file. Ours: main now, the writer's turn held. The result is one
 * ordinary transaction on main. Who wins a conflict says the conflict policy: under last_commit_wins the tool, whose
 * commit arrives now; under the others what is committed here. Every conflict is written down (mirror_log.c).
 *
 * M1  An object that one side changed since the base is taken from it; both differently is a conflict; a definition
 *     that cannot be made here is one that the file loses.
 * M2  Renamed tables, and columns that were added behind the others, renamed, or dropped, keep their rows here. A table
 *     that was changed in another way is made anew with all of the file's rows.
 * M3  What the export left out of the file (_heliosdb_left_out) was not dropped by anybody.
 * M4  Triggers, foreign keys and CHECKs do not run: they ran, or did not, when the tool wrote.
 * Without history back to the base (retention 0), a row that was committed here since then has no base: if it differs
 * it is a conflict.
 */
#include <sqlite3.h>
#include <stdlib.h>

#include "sql/catalog_build.h"
#include "sql/mirror_internal.h"
#include "sql/replay.h"

enum { THEIR_TREES = 0x40000000 };
enum kind { TABLES, INDEXES, VIEWS, TRIGGERS, KINDS };
static const char *const kinds[KINDS] = {"table", "index", "view", "trigger"};

typedef struct object {
  enum kind kind;
  const char *name, *sql, *owner;
  const table *t;
} object;

static status failed(mirror_merging *g, status rc) {
  return rc == HDB_OK || g->own->err.code == rc ? rc : error_set(&g->own->err, rc, "%s", status_text(rc));
}

/* ---- objects ---- */

static int object_count(const schema *s, enum kind kind) {
  return !s ? 0 : kind == INDEXES ? s->indexes_n : kind == TRIGGERS ? s->triggers_n : s->tables_n;
}

static bool object_at(const schema *s, enum kind kind, int i, object *out) {
  *out = (object){.kind = kind};
  if (kind == INDEXES) {
    out->name = s->indexes[i]->name, out->sql = s->indexes[i]->sql, out->owner = s->indexes[i]->owner->name;
  } else if (kind == TRIGGERS) {
    out->name = s->triggers[i]->name, out->sql = s->triggers[i]->sql, out->owner = s->triggers[i]->table_name;
  } else {
    const table *t = s->in_order[i];
    if (t->kind == TABLE_SCHEMA || (t->kind == TABLE_VIEW) != (kind == VIEWS)) return false;
    out->name = t->name, out->sql = t->sql, out->t = t;
  }
  return out->sql && out->name && sqlite3_strnicmp(out->name, "sqlite_", 7) != 0;
}

static bool object_find(const schema *s, enum kind kind, const char *name, object *out) {
  for (int i = 0; i < object_count(s, kind); i++)
    if (object_at(s, kind, i, out) && name_equal(out->name, name)) return true;
  return false;
}

static bool same_definition(const object *a, const object *b) { return strcmp(a->sql, b->sql) == 0 && strcmp(a->name, b->name) == 0; }

static status ours_now(mirror_merging *g, schema **out) { return catalog_schema(g->own, DB_MAIN, out); }

static bool was_left_out(mirror_merging *g, const char *name) {
  sqlite3_stmt *s = NULL;
  bool found = false;
  if (sqlite3_prepare_v2(g->file, "SELECT 1 FROM _heliosdb_left_out WHERE name = ? AND written IS NULL", -1, &s, NULL) == SQLITE_OK) {
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    found = sqlite3_step(s) == SQLITE_ROW;
  }
  sqlite3_finalize(s);
  return found;
}

static void note(mirror_merging *g, const object *o, const char *words, bool file_wins) {
  value key = value_text(kinds[o->kind], strlen(kinds[o->kind])), none = value_null(), text = words ? value_text(words, strlen(words)) : none;
  mirror_outcome_conflict(g->out, o->name, &key, NULL, &none, &text, &none, file_wins ? "file" : "database");
  if (!file_wins) g->out->discarded = true;
}

/* ---- writing definitions ---- */

/* A definition that does not fit here is no reason to fail: it is noted, and the file loses it (M1). */
static status create(mirror_merging *g, const object *o, bool *made) {
  status rc = sql_run(g->own, "%s", o->sql);
  *made = rc == HDB_OK;
  g->out->any = true;
  if (rc == HDB_OK) return HDB_OK;
  int code = rc & 0xff;
  if (code != HDB_ERROR && code != HDB_CONSTRAINT) return rc;
  note(g, o, g->own->err.message, false);
  return HDB_OK;
}

static status run_named(mirror_merging *g, const char *before, const char *name, const char *middle, const char *other) {
  buf b = BUF_INIT;
  buf_text(&b, before);
  buf_quoted_name(&b, name);
  buf_text(&b, middle);
  if (other) buf_quoted_name(&b, other);
  const char *sql = buf_cstr(&b);
  status rc = sql ? sql_run(g->own, "%s", sql) : sql_nomem(&g->own->err);
  buf_free(&b);
  return rc;
}

static status drop(mirror_merging *g, const object *o) {
  static const char *const texts[KINDS] = {"DROP TABLE IF EXISTS main.", "DROP INDEX IF EXISTS main.", "DROP VIEW IF EXISTS main.",
                                           "DROP TRIGGER IF EXISTS main."};
  g->out->any = true;
  return run_named(g, texts[o->kind], o->name, "", NULL);
}

/* Further columns behind those that were: rows stay as they are, so the text is all that changes. */
static bool only_added_columns(const table *now, const table *base) {
  if (now->columns_n <= base->columns_n || now->without_rowid || base->without_rowid || now->rowid_column != base->rowid_column) return false;
  for (int i = 0; i < base->columns_n; i++)
    if (!name_equal(now->columns[i].name, base->columns[i].name) || strcasecmp(now->columns[i].type, base->columns[i].type) != 0 ||
        now->columns[i].generated != base->columns[i].generated)
      return false;
  return (now->primary == NULL) == (base->primary == NULL);
}

static status replace_text(mirror_merging *g, const object *o) {
  txn *t = g->own->databases[DB_MAIN].txn;
  cursor *c;
  record_writer w = {0};
  status rc = failed(g, cursor_open(t, TREE_SCHEMA, 0, &c));
  if (rc != HDB_OK) return rc;
  for (cursor_first(c); c->valid; cursor_next(c)) {
    const char *texts[4];
    int64_t root;
    CHECK(failed(g, schema_row_read(&g->memory, c->value, texts, &root)));
    if (!texts[0] || !texts[1] || strcmp(texts[0], "table") != 0 || !name_equal(texts[1], o->name)) continue;
    record_begin(&w);
    for (int i = 0; i < 3; i++) record_text(&w, texts[i], strlen(texts[i]));
    record_int(&w, root);
    record_text(&w, o->sql, strlen(o->sql));
    slice record = record_end(&w);
    uint8_t *key = arena_copy(&g->memory, c->key.p, c->key.n);
    rc = failed(g, record.p && key ? txn_put(t, TREE_SCHEMA, slice_of(key, c->key.n), record, PUT_UPDATE) : HDB_NOMEM);
    goto out;
  }
  rc = failed(g, c->error);
out:
  cursor_close(c);
  record_writer_free(&w);
  g->out->any = true;
  return rc;
}

/* ---- what the tool dropped, changed, made ---- */

static bool rows_touched(mirror_merging *g, const table *t) {
  return t && mirror_is_touched(g, t->tree, slice_of(NULL, 0));
}

static status take_drop(mirror_merging *g, const object *base) {
  object theirs, ours;
  schema *now;
  if (object_find(g->theirs_schema, base->kind, base->name, &theirs) || was_left_out(g, base->name)) return HDB_OK;
  TRY(ours_now(g, &now));
  if (!object_find(now, base->kind, base->name, &ours)) return HDB_OK;
  if (!same_definition(base, &ours) || rows_touched(g, ours.t)) {
    note(g, &ours, "dropped in the file, changed here", g->theirs_win);
    if (!g->theirs_win) return HDB_OK;
  }
  return drop(g, &ours);
}

/* The table is made anew with the file's rows. */
static status rebuild(mirror_merging *g, const object *o, const object *ours) {
  schema *now;
  bool made = true;
  if (g->rebuilt_n == g->rebuilt_capacity) {
    int capacity = g->rebuilt_capacity ? 2 * g->rebuilt_capacity : 16;
    uint32_t *trees = realloc(g->rebuilt, (size_t)capacity * sizeof *trees);
    if (!trees) return sql_nomem(&g->own->err);
    g->rebuilt = trees, g->rebuilt_capacity = capacity;
  }
  if (ours) TRY(drop(g, ours));
  TRY(create(g, o, &made));
  TRY(ours_now(g, &now));
  const table *target = made ? schema_table(now, o->name) : NULL;
  if (!target || target->kind != TABLE_ORDINARY) return HDB_OK;
  now->references++;
  g->rebuilt[g->rebuilt_n++] = target->tree;
  status rc = mirror_merge_table(g, o->t, NULL, NULL, target);
  schema_release(now);
  return rc;
}

/* The new name is written as it is given: quoted, if it is so in the text that is wanted. */
static void put_new_name(buf *b, const char *name, const char *wanted) {
  buf quoted = BUF_INIT;
  buf_quoted_name(&quoted, name);
  bool plain = !sqlite3_keyword_check(name, (int)strlen(name)) && (*name == '_' || (unsigned)((*name | 32) - 'a') < 26u);
  for (const char *p = name; *p; p++) plain = plain && (*p == '_' || (unsigned)((*p | 32) - 'a') < 26u || (unsigned)(*p - '0') < 10u);
  if (plain && buf_cstr(&quoted) && !strstr(wanted, buf_cstr(&quoted))) buf_text(b, name);
  else buf_append(b, quoted.p, quoted.n);
  buf_free(&quoted);
}

static status alter(mirror_merging *g, const char *table, const char *what, const char *column, const char *to, const char *wanted) {
  buf b = BUF_INIT;
  buf_text(&b, "ALTER TABLE main.");
  buf_quoted_name(&b, table);
  buf_text(&b, what);
  buf_quoted_name(&b, column);
  if (to) {
    buf_text(&b, " TO ");
    put_new_name(&b, to, wanted);
  }
  const char *sql = buf_cstr(&b);
  status rc = sql ? sql_run(g->own, "%s", sql) : sql_nomem(&g->own->err);
  buf_free(&b);
  return rc;
}

/* Columns renamed in their places, or dropped: *done, when ours can be brought to the very same text. */
static status alter_columns(mirror_merging *g, const object *o, const object *base, bool *done) {
  const table *now = o->t, *was = base->t;
  status rc = HDB_OK;
  *done = false;
  int at = 0;
  for (int i = 0; i < was->columns_n; i++) {
    bool stays = at < now->columns_n && name_equal(now->columns[at].name, was->columns[i].name);
    bool renamed = !stays && now->columns_n == was->columns_n && strcasecmp(now->columns[i].type, was->columns[i].type) == 0 &&
                   table_column(was, now->columns[i].name) < 0;
    if (renamed) rc = alter(g, o->name, " RENAME COLUMN ", was->columns[i].name, now->columns[i].name, o->sql);
    else if (!stays && now->columns_n < was->columns_n) rc = alter(g, o->name, " DROP COLUMN ", was->columns[i].name, NULL, NULL);
    else if (!stays) return HDB_OK;
    if ((rc & 0xff) == HDB_ERROR) return HDB_OK; /* something stands in the way: made anew */
    TRY(rc);
    at += stays || renamed;
  }
  schema *s;
  object ours;
  TRY(ours_now(g, &s));
  *done = object_find(s, TABLES, o->name, &ours) && same_definition(o, &ours);
  g->out->any = true;
  return HDB_OK;
}

/* One of the file's objects that is not as it was in the base. */
static status take_changed(mirror_merging *g, const object *o, const object *base) {
  object ours;
  schema *now;
  bool made;
  TRY(ours_now(g, &now));
  bool has = object_find(now, o->kind, o->name, &ours);
  if (has && same_definition(o, &ours)) return HDB_OK;
  bool agreed = base ? has && same_definition(base, &ours) : !has;
  if (!agreed) {
    note(g, o, base ? "changed in the file and here" : "made in the file and here", g->theirs_win);
    if (!g->theirs_win) return HDB_OK;
  }
  now->references++;
  status rc = HDB_OK;
  if (o->kind == TABLES && o->t->kind == TABLE_ORDINARY) {
    bool done = false;
    if (has && base && only_added_columns(o->t, ours.t)) rc = replace_text(g, o), done = true;
    else if (has && base && same_definition(base, &ours)) rc = alter_columns(g, o, base, &done);
    if (rc != HDB_OK || done) {
      /* its rows stay, and are merged with the others' */
    } else if (has || base) rc = rebuild(g, o, has ? &ours : NULL);
    else rc = create(g, o, &made); /* its rows come with the others' */
  } else {
    if (has) rc = drop(g, &ours);
    if (rc == HDB_OK) rc = create(g, o, &made);
  }
  schema_release(now);
  return rc;
}

/* The text behind the table's name: the same in a renamed one. */
static const char *text_behind_name(const char *sql) { return sql ? strchr(sql, '(') : NULL; }

/* A base table that is gone while a new one has its very columns: renamed (M2). */
static status take_renames(mirror_merging *g) {
  object o, base, other;
  schema *now;
  for (int i = 0; i < object_count(g->theirs_schema, TABLES); i++) {
    if (!object_at(g->theirs_schema, TABLES, i, &o) || object_find(g->base_schema, TABLES, o.name, &other)) continue;
    int found = -1;
    for (int j = 0; j < object_count(g->base_schema, TABLES); j++) {
      const char *a = text_behind_name(o.sql);
      if (!object_at(g->base_schema, TABLES, j, &base) || object_find(g->theirs_schema, TABLES, base.name, &other)) continue;
      if (!a || !text_behind_name(base.sql) || strcmp(a, text_behind_name(base.sql)) != 0) continue;
      found = found == -1 ? j : -2;
    }
    if (found < 0 || !object_at(g->base_schema, TABLES, found, &base)) continue;
    TRY(ours_now(g, &now));
    if (!object_find(now, TABLES, base.name, &other) || !same_definition(&base, &other) || schema_table(now, o.name)) continue;
    status rc = run_named(g, "ALTER TABLE main.", base.name, " RENAME TO ", o.name);
    if (rc != HDB_OK && (rc & 0xff) != HDB_ERROR) return rc;
    g->out->any = true;
  }
  return HDB_OK;
}

static status merge_definitions(mirror_merging *g) {
  object o, base;
  TRY(take_renames(g));
  for (int kind = KINDS - 1; kind >= 0; kind--)
    for (int i = 0; i < object_count(g->base_schema, kind); i++)
      if (object_at(g->base_schema, kind, i, &o)) TRY(take_drop(g, &o));
  for (int kind = 0; kind < KINDS; kind++) {
    for (int i = 0; i < object_count(g->theirs_schema, kind); i++) {
      if (!object_at(g->theirs_schema, kind, i, &o)) continue;
      bool had = object_find(g->base_schema, kind, o.name, &base);
      if (!had || !same_definition(&o, &base)) TRY(take_changed(g, &o, had ? &base : NULL));
    }
  }
  /* indexes and triggers of tables that were made anew */
  for (int kind = INDEXES; kind < KINDS; kind++) {
    for (int i = 0; kind != VIEWS && i < object_count(g->theirs_schema, kind); i++) {
      schema *now;
      object ours;
      bool made;
      if (!object_at(g->theirs_schema, kind, i, &o)) continue;
      TRY(ours_now(g, &now));
      bool dropped_here = object_find(g->base_schema, kind, o.name, &base) && !object_find(g->ours_schema, kind, o.name, &ours);
      if (!dropped_here && !object_find(now, kind, o.name, &ours) && schema_table(now, o.owner)) TRY(create(g, &o, &made));
    }
  }
  return HDB_OK;
}

/* ---- rows ---- */

static const table *ordinary(const schema *s, const char *name) {
  const table *t = s ? schema_table(s, name) : NULL;
  return t && t->kind == TABLE_ORDINARY ? t : NULL;
}

/* A table is the same one by its tree, also under another name. */
static const table *by_tree(const schema *s, uint32_t tree) {
  for (int i = 0; s && i < s->tables_n; i++)
    if (s->in_order[i]->kind == TABLE_ORDINARY && s->in_order[i]->tree == tree) return s->in_order[i];
  return NULL;
}

static bool is_rebuilt(const mirror_merging *g, uint32_t tree) {
  for (int i = 0; i < g->rebuilt_n; i++)
    if (g->rebuilt[i] == tree) return true;
  return false;
}

static status merge_all_rows(mirror_merging *g) {
  for (int i = 0; i < g->theirs_schema->tables_n; i++) {
    const table *t = g->theirs_schema->in_order[i];
    schema *now;
    if (t->kind != TABLE_ORDINARY || sqlite3_strnicmp(t->name, "sqlite_", 7) == 0) continue;
    TRY(ours_now(g, &now));
    const table *target = ordinary(now, t->name);
    if (!target || target->without_rowid != t->without_rowid) continue;
    const table *ours = by_tree(g->ours_schema, target->tree), *base = ours ? by_tree(g->base_schema, ours->tree) : NULL;
    if (strcmp(target->sql, t->sql) != 0 && !ours) continue;
    if (is_rebuilt(g, target->tree)) continue;
    now->references++;
    status rc = mirror_merge_table(g, t, base, ours, target);
    schema_release(now);
    TRY(rc);
  }
  return HDB_OK;
}

/* ---- what is no object: AUTOINCREMENT's memory, two numbers of the header ---- */

static status merge_sequences(mirror_merging *g) {
  sqlite3_stmt *s = NULL;
  schema *now;
  status rc = HDB_OK;
  TRY(ours_now(g, &now));
  if (!schema_table(now, "sqlite_sequence") || sqlite3_prepare_v2(g->file, "SELECT name, seq FROM sqlite_sequence WHERE name NOT LIKE '\\_heliosdb%' ESCAPE '\\'", -1, &s, NULL) != SQLITE_OK)
    return HDB_OK;
  while (rc == HDB_OK && sqlite3_step(s) == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(s, 0);
    char *quoted = name ? sqlite3_mprintf("%Q", name) : NULL;
    long long seq = sqlite3_column_int64(s, 1);
    if (!quoted || !ordinary(now, name)) {
      sqlite3_free(quoted);
      continue;
    }
    rc = sql_run(g->own, "UPDATE sqlite_sequence SET seq = %lld WHERE name = %s AND seq < %lld", seq, quoted, seq);
    if (rc == HDB_OK) rc = sql_run(g->own, "INSERT INTO sqlite_sequence SELECT %s, %lld WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = %s)", quoted, seq, quoted);
    sqlite3_free(quoted);
  }
  sqlite3_finalize(s);
  return rc;
}

static status number_at(mirror_merging *g, txn *t, const char *name, int64_t *out) {
  database *d = &g->own->databases[DB_MAIN];
  txn *own = d->txn;
  *out = 0;
  if (!t) return HDB_OK;
  d->txn = t;
  status rc = database_get_number(g->own, DB_MAIN, name, 0, out);
  d->txn = own;
  return rc;
}

static status merge_numbers(mirror_merging *g) {
  static const char *const names[] = {"user_version", "application_id"};
  for (int i = 0; i < 2; i++) {
    sqlite3_stmt *s = NULL;
    int64_t base, ours, theirs = 0;
    TRY(number_at(g, g->base, names[i], &base));
    TRY(number_at(g, g->ours, names[i], &ours));
    int code = sqlite3_prepare_v2(g->file, i ? "PRAGMA application_id" : "PRAGMA user_version", -1, &s, NULL);
    if (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW) theirs = sqlite3_column_int64(s, 0), code = SQLITE_DONE;
    status rc = mirror_sqlite_error(g->own, g->file, code);
    sqlite3_finalize(s);
    TRY(rc);
    if (theirs == base || theirs == ours || (ours != base && !g->theirs_win)) continue;
    TRY(database_set_number(g->own, DB_MAIN, names[i], theirs));
    g->out->any = true;
  }
  return HDB_OK;
}

/* ---- the states ---- */

/* The schema of any transaction object of any engine. */
static status schema_of(mirror_merging *g, txn *t, schema **out) {
  database *d = &g->own->databases[DB_MAIN];
  txn *own = d->txn;
  d->txn = t;
  status rc = schema_load(g->own, DB_MAIN, 0, out);
  d->txn = own;
  return rc;
}

/* The file's definitions, as a schema whose trees are nobody's. */
static status read_theirs(mirror_merging *g) {
  sqlite3_stmt *s = NULL;
  record_writer w = {0};
  error why = ERROR_INIT;
  uint8_t key[8];
  int64_t n = 0;
  mirror_texts texts = {0};
  status rc = engine_open(NULL, &(engine_options){.create = true, .retention = -1}, &g->scratch, &why);
  error_clear(&why);
  if (rc == HDB_OK) rc = txn_new(g->scratch, &g->scratch_txn);
  if (rc == HDB_OK) rc = txn_begin(g->scratch_txn, TXN_READ, 0);
  CHECK(failed(g, rc));
  CHECK(mirror_texts_load(g->own, g->file, &texts));
  int code = sqlite3_prepare_v2(g->file, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE name NOT LIKE '\\_heliosdb%' ESCAPE '\\' AND "
                                         "tbl_name NOT LIKE '\\_heliosdb%' ESCAPE '\\' ORDER BY rowid", -1, &s, NULL);
  while (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
    code = SQLITE_OK;
    record_begin(&w);
    for (int i = 0; i < 5; i++) {
      value v = mirror_value(s, i);
      const mirror_written *ours = i == 4 ? mirror_text_find(&texts, (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 4)) : NULL;
      if (ours) v = value_text(ours->texts[1], strlen(ours->texts[1]));
      if (i == 3 && sqlite3_column_int64(s, 3) > 0) v = value_int(THEIR_TREES + n);
      value_write(&w, &v);
    }
    rowid_encode(key, ++n);
    slice record = record_end(&w);
    CHECK(failed(g, record.p ? txn_put(g->scratch_txn, TREE_SCHEMA, slice_of(key, 8), record, PUT_INSERT) : HDB_NOMEM));
  }
  CHECK(mirror_sqlite_error(g->own, g->file, code));
  rc = schema_of(g, g->scratch_txn, &g->theirs_schema);
out:
  sqlite3_finalize(s);
  arena_clear(&texts.memory);
  record_writer_free(&w);
  return rc;
}

typedef struct mirror_touched {
  uint32_t tree;
  slice key; /* p NULL: all of them */
} mirror_touched;

static status add_touched(void *context, uint32_t tree, slice key, bool whole) {
  mirror_merging *g = context;
  if (g->touched_n == g->touched_capacity) {
    size_t capacity = g->touched_capacity ? 2 * g->touched_capacity : 256;
    mirror_touched *list = realloc(g->touched, capacity * sizeof *list);
    if (!list) return HDB_NOMEM;
    g->touched = list, g->touched_capacity = capacity;
  }
  uint8_t *copy = whole ? NULL : arena_copy(&g->memory, key.n ? key.p : (const uint8_t *)"", key.n);
  if (!whole && !copy) return HDB_NOMEM;
  g->touched[g->touched_n++] = (mirror_touched){tree, slice_of(copy, whole ? 0 : key.n)};
  return HDB_OK;
}

/* key.p NULL: any of the tree. The list is in order of (tree, key), as the feed tells it. */
bool mirror_is_touched(const mirror_merging *g, uint32_t tree, slice key) {
  size_t low = 0, high = g->touched_n;
  while (low < high) { /* the first of the tree, then of the key */
    size_t middle = (low + high) / 2;
    const mirror_touched *t = &g->touched[middle];
    bool before = t->tree != tree ? t->tree < tree : key.p && t->key.p && slice_compare(t->key, key) < 0;
    if (before) low = middle + 1;
    else high = middle;
  }
  if (low < g->touched_n && g->touched[low].tree == tree && (!key.p || !g->touched[low].key.p || slice_equal(g->touched[low].key, key))) return true;
  if (!key.p) return false;
  return mirror_is_touched(g, tree, slice_of(NULL, 0)) && low > 0 && g->touched[low - 1].tree == tree && !g->touched[low - 1].key.p;
}

static status view_new(mirror_merging *g, int64_t as_of, txn **out, schema **s) {
  status rc = txn_new(g->own->databases[DB_MAIN].engine, out);
  if (rc == HDB_OK && as_of) txn_set_as_of(*out, as_of);
  if (rc == HDB_OK) rc = txn_begin(*out, TXN_READ, 0);
  TRY(failed(g, rc));
  return schema_of(g, *out, s);
}

static status open_states(mirror_merging *g, int64_t base) {
  engine *e = g->own->databases[DB_MAIN].engine;
  TRY(read_theirs(g));
  TRY(view_new(g, 0, &g->ours, &g->ours_schema));
  if (base == 0) return HDB_OK;
  int64_t now = txn_view_time(g->ours);
  status rc = feed_changes(e, base, now, add_touched, g);
  if (rc == HDB_NOTFOUND) { /* too long ago: everything may have been touched */
    for (int i = 0; i < g->ours_schema->tables_n; i++)
      TRY(failed(g, add_touched(g, g->ours_schema->in_order[i]->tree, slice_of(NULL, 0), true)));
  } else {
    TRY(failed(g, rc));
  }
  g->base_is_ours = base >= now || base < engine_oldest(e);
  return view_new(g, g->base_is_ours ? 0 : base, &g->base, &g->base_schema);
}

static void close_states(mirror_merging *g) {
  schema_release(g->theirs_schema);
  schema_release(g->base_schema);
  schema_release(g->ours_schema);
  if (g->base) txn_free(g->base);
  if (g->ours) txn_free(g->ours);
  if (g->scratch_txn) txn_free(g->scratch_txn);
  if (g->scratch) engine_close(g->scratch);
  free(g->touched);
  free(g->rebuilt);
  arena_clear(&g->memory);
}

/* ---- the transaction ---- */

static status merge_states(mirror_merging *g, int64_t base, const mirror_mark *mark) {
  TRY(open_states(g, base));
  TRY(merge_definitions(g));
  TRY(merge_all_rows(g));
  TRY(merge_sequences(g));
  TRY(merge_numbers(g));
  return mirror_mark_seen(g->own, mark);
}

status mirror_merge(struct mirror *m, sqlite3 *file, int64_t base, const file_facts *facts, mirror_outcome *out) {
  hdb *own = m->own;
  mirror_mark mark = {(int64_t)facts->stamp, facts->signature, 0};
  mirror_merging g = {.own = own, .file = file, .out = out, .theirs_win = own->pragmas.policy == TXN_LAST_COMMIT_WINS};
  TRY(sql_run(own, "BEGIN IMMEDIATE"));
  status rc = merge_states(&g, base, &mark);
  if (rc == HDB_OK) rc = sql_run(own, "COMMIT");
  close_states(&g);
  if (rc != HDB_OK && !own->autocommit) {
    error kept = own->err;
    own->err = (error)ERROR_INIT;
    transaction_rollback(own);
    error_clear(&own->err);
    own->err = kept;
  }
  out->any = out->any || out->inserted || out->updated || out->deleted;
  return rc;
}
