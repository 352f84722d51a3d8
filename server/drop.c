/* DROP TABLE and DROP VIEW with what hangs on them: sequences that a column owns go along; views over a dropped relation and
 * foreign keys that refer to a dropped table stand in the way, or go with CASCADE. A view hangs on a relation when it can
 * no longer be compiled without it. Everything is one transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"
#include "sql/pg_enum.h"

enum { NAMES_MAX = 500 };
typedef struct drop {
  session *s;
  const translation *t;
  arena memory;
  const char *found[NAMES_MAX];
  int found_n;
} drop;

/* Names that a query gives: one column, or two put together. */
static status collect(drop *d, const char *sql) {
  hdb_stmt *q;
  const char *tail;
  int rc = sql ? hdb_prepare(d->s->db, sql, -1, 0, &q, &tail) : HDB_NOMEM;
  d->found_n = 0;
  if (rc != HDB_OK) return engine_failed(d->s, rc);
  while ((rc = hdb_step(q)) == HDB_ROW && d->found_n < NAMES_MAX) {
    const char *text = hdb_column_text(q, 0);
    if (text) d->found[d->found_n++] = arena_strdup(&d->memory, text);
  }
  status failed = rc == HDB_ROW || rc == HDB_DONE ? HDB_OK : engine_failed(d->s, rc);
  hdb_finalize(q);
  return failed;
}

static const char *dropped_list(drop *d) { /* 'a', 'b' */
  buf b = BUF_INIT;
  for (int i = 0; i < d->t->names_n; i++) {
    buf_text(&b, i ? ", '" : "'");
    for (const char *p = d->t->names[i]; *p; p++) {
      if (*p == '\'') buf_byte(&b, '\'');
      buf_byte(&b, (uint8_t)*p);
    }
    buf_byte(&b, '\'');
  }
  const char *text = arena_strndup(&d->memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text ? text : "''";
}

static const char *quoted(drop *d, const char *name) {
  buf b = BUF_INIT;
  buf_quoted_name(&b, name);
  const char *text = arena_strndup(&d->memory, (const char *)b.p, b.n);
  buf_free(&b);
  return text ? text : "";
}

static status in_the_way(drop *d, const char *what, const char *detail) {
  if (d->t->names_n > 1)
    return session_fail(d->s, "2BP01", detail, "Use DROP ... CASCADE to drop the dependent objects too.", "cannot drop desired object(s) because other objects depend on them");
  return session_fail(d->s, "2BP01", detail, "Use DROP ... CASCADE to drop the dependent objects too.", "cannot drop %s because other objects depend on it", what);
}

static const char *first_name(drop *d) { return arena_printf(&d->memory, "%s %s", d->t->if_exists_kind ? d->t->if_exists_kind : "table", d->t->names[0]); }

static status drop_constraint(drop *d, const char *table, const char *name) {
  const char *sql = arena_printf(&d->memory, "ALTER TABLE %s DROP CONSTRAINT %s", quoted(d, table), quoted(d, name));
  pg_token *tokens;
  int n;
  translation t;
  if (!sql) return error_set(&d->s->err, HDB_NOMEM, "out of memory");
  TRY(pg_tokenize(slice_str(sql), &d->memory, &tokens, &n, &d->s->err));
  TRY(translate(slice_str(sql), tokens, n, &d->memory, &t, &d->s->err));
  session_notice(d->s, "NOTICE", "00000", arena_printf(&d->memory, "drop cascades to constraint %s on table %s", name, table));
  return alter_run(d->s, &t, sql);
}

/* Foreign keys of tables that stay. */
static status referring_keys(drop *d) {
  const char *list = dropped_list(d);
  TRY(collect(d, arena_printf(&d->memory, "SELECT r.relname || char(1) || c.conname FROM pg_constraint c, pg_class r, pg_class p WHERE c.contype = 'f' AND r.oid = c.conrelid AND "
                                          "p.oid = c.confrelid AND p.relname IN (%s) AND r.relname NOT IN (%s)", list, list)));
  int n = d->found_n;
  for (int i = 0; i < n; i++) {
    char *table = arena_strdup(&d->memory, d->found[i]), *cut = table ? strchr(table, 1) : NULL;
    if (!cut) continue;
    *cut = 0;
    if (!d->t->cascade) return in_the_way(d, first_name(d), arena_printf(&d->memory, "constraint %s on table %s depends on %s", cut + 1, table, first_name(d)));
    TRY(drop_constraint(d, table, cut + 1));
  }
  return HDB_OK;
}

/* Does it name one of those that are gone? */
static const char *missed(drop *d, const char *words) {
  const char *name = strncmp(words, "no such table: ", 15) == 0 ? words + 15 : NULL;
  if (!name) return NULL;
  if (strncmp(name, "main.", 5) == 0) name += 5;
  for (int i = 0; i < d->t->names_n; i++)
    if (strcasecmp(d->t->names[i], name) == 0) return d->t->names[i];
  return NULL;
}

static status broken_views(drop *d) {
  TRY(collect(d, "SELECT name FROM sqlite_schema WHERE type = 'view'"));
  int n = d->found_n;
  const char *gone[NAMES_MAX];
  int gone_n = 0;
  for (bool again = n > 0; again;) {
    again = false;
    for (int i = 0; i < n; i++) {
      hdb_stmt *q = NULL;
      const char *tail, *sql = d->found[i] ? arena_printf(&d->memory, "SELECT * FROM %s", quoted(d, d->found[i])) : NULL;
      if (!sql) continue;
      int rc = hdb_prepare(d->s->db, sql, -1, 0, &q, &tail);
      hdb_finalize(q);
      const char *words = hdb_errmsg(d->s->db);
      const char *base = rc != HDB_OK ? missed(d, words) : NULL;
      bool hit = base != NULL;
      for (int k = 0; k < gone_n && rc != HDB_OK && !hit; k++) hit = strstr(words, gone[k]) != NULL;
      if (!hit) continue;
      if (!d->t->cascade) return in_the_way(d, first_name(d), arena_printf(&d->memory, "view %s depends on %s %s", d->found[i], d->t->if_exists_kind, base ? base : ""));
      session_notice(d->s, "NOTICE", "00000", arena_printf(&d->memory, "drop cascades to view %s", d->found[i]));
      TRY(run_text(d->s, arena_printf(&d->memory, "DROP VIEW %s", quoted(d, d->found[i]))));
      gone[gone_n++] = d->found[i];
      d->found[i] = NULL;
      again = true;
    }
  }
  return HDB_OK;
}

/* Which of the names may go next: no other that is still there refers to it. -1: all are in rings. */
static int next_free(drop *d, const bool *gone, const bool *refers) {
  int n = d->t->names_n;
  for (int i = 0; i < n; i++) {
    bool held = gone[i];
    for (int k = 0; k < n && !held; k++) held = k != i && !gone[k] && refers[k * n + i];
    if (!held) return i;
  }
  return -1;
}

/* Tables that refer to each other go children first. *order: places of names. */
static status drop_order(drop *d, int **order) {
  int n = d->t->names_n;
  *order = arena_zero(&d->memory, (size_t)(n + 1) * sizeof **order);
  bool *refers = arena_zero(&d->memory, (size_t)n * (size_t)n + 1), *gone = arena_zero(&d->memory, (size_t)n + 1);
  if (!*order || !refers || !gone) return error_set(&d->s->err, HDB_NOMEM, "out of memory");
  const char *list = dropped_list(d);
  TRY(collect(d, arena_printf(&d->memory, "SELECT r.relname || char(1) || p.relname FROM pg_constraint c, pg_class r, pg_class p WHERE c.contype = 'f' AND r.oid = c.conrelid AND "
                                          "p.oid = c.confrelid AND p.relname IN (%s) AND r.relname IN (%s)", list, list)));
  for (int k = 0; k < d->found_n; k++) {
    const char *child = d->found[k], *cut = child ? strchr(child, 1) : NULL;
    for (int i = 0; i < n && cut; i++)
      for (int m = 0; m < n; m++)
        if (strlen(d->t->names[i]) == (size_t)(cut - child) && strncasecmp(d->t->names[i], child, (size_t)(cut - child)) == 0 && strcasecmp(d->t->names[m], cut + 1) == 0)
          refers[i * n + m] = true;
  }
  for (int k = 0; k < n; k++) {
    int next = next_free(d, gone, refers);
    for (int i = 0; next < 0; i++)
      if (!gone[i]) next = i;
    (*order)[k] = next;
    gone[next] = true;
  }
  return HDB_OK;
}

static status run(drop *d) {
  bool table = strcmp(d->t->tag, "DROP TABLE") == 0;
  const char *sequences[NAMES_MAX];
  int sequences_n = 0, *order = NULL;
  if (table && d->t->names_n > 1) TRY(drop_order(d, &order));
  if (table) {
    TRY(collect(d, arena_printf(&d->memory, "SELECT s.name FROM pg_depend d, pg_class c, pg_class t, sqlite_schema s WHERE d.deptype = 'a' AND c.oid = d.objid AND t.oid = d.refobjid AND "
                                            "t.relname IN (%s) AND s.name = c.relname", dropped_list(d))));
    for (; sequences_n < d->found_n; sequences_n++) sequences[sequences_n] = d->found[sequences_n];
    TRY(referring_keys(d));
  }
  for (int k = 0; k < d->t->texts_n; k++) {
    int i = order ? order[k] : k;
    if (i < d->t->names_n && hdb_type_exists(d->s->db, d->t->names[i])) return session_fail(d->s, "42P01", NULL, NULL, "%s \"%s\" does not exist", table ? "table" : "view", d->t->names[i]);
    status rc = run_text(d->s, d->t->texts[i]);
    const char *m = d->s->err.message;
    if (rc != HDB_OK && m && (strncmp(m, "no such table: ", 15) == 0 || strncmp(m, "no such view: ", 14) == 0))
      return session_fail(d->s, "42P01", NULL, NULL, "%s \"%s\" does not exist", table ? "table" : "view", i < d->t->names_n ? d->t->names[i] : "");
    if (rc != HDB_OK && m && strncmp(m, "use DROP ", 9) == 0)
      return session_fail(d->s, "42809", NULL, NULL, "\"%s\" is not a %s", i < d->t->names_n ? d->t->names[i] : "", table ? "table" : "view");
    TRY(rc);
  }
  for (int i = 0; i < sequences_n; i++) TRY(run_text(d->s, arena_printf(&d->memory, "DROP TABLE %s", quoted(d, sequences[i]))));
  return broken_views(d);
}

status drop_run(session *s, const translation *t) {
  drop d = {.s = s, .t = t};
  bool own = hdb_get_autocommit(s->db);
  existence_notices(s, t);
  status rc = own ? run_text(s, "BEGIN") : HDB_OK;
  if (rc == HDB_OK) rc = run(&d);
  if (own && rc == HDB_OK) rc = run_text(s, "COMMIT");
  if (own && rc != HDB_OK && !hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  s->queried = true;
  arena_clear(&d.memory);
  return rc;
}
