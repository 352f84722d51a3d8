/* TRUNCATE: tables that refer to each other are emptied in one transaction, whatever their order; others that refer to them
 * stand in the way, or are emptied along with CASCADE. RESTART IDENTITY sets their sequences back. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

enum { TABLES_MOST = 300 };
typedef struct truncation {
  session *s;
  const translation *t;
  arena memory;
  const char *tables[TABLES_MOST];
  int n;
} truncation;

static const char *quoted(truncation *t, const char *name) {
  buf b = BUF_INIT;
  buf_quoted_name(&b, name);
  const char *text = arena_strndup(&t->memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text ? text : "";
}

static status names(truncation *t, const char *sql, const char **found, int *n) {
  hdb_stmt *q;
  const char *tail;
  int rc = sql ? hdb_prepare(t->s->db, sql, -1, 0, &q, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(t->s, rc);
  for (*n = 0; (rc = hdb_step(q)) == HDB_ROW && *n < TABLES_MOST;) found[(*n)++] = arena_strdup(&t->memory, hdb_column_text(q, 0));
  status failed = rc == HDB_ROW || rc == HDB_DONE ? HDB_OK : engine_failed(t->s, rc);
  hdb_finalize(q);
  return failed;
}

static bool has(const truncation *t, const char *name) {
  for (int i = 0; i < t->n; i++)
    if (strcasecmp(t->tables[i], name) == 0) return true;
  return false;
}

/* Tables outside that refer to one inside. */
static status referring(truncation *t, int at) {
  const char *found[TABLES_MOST];
  int n;
  TRY(names(t, arena_printf(&t->memory, "SELECT DISTINCT r.relname FROM pg_constraint c, pg_class r, pg_class p WHERE c.contype = 'f' AND r.oid = c.conrelid AND p.oid = c.confrelid AND lower(p.relname) = lower('%s')",
                            sql_escaped(&t->memory, t->tables[at])), found, &n));
  for (int i = 0; i < n; i++) {
    if (!found[i] || has(t, found[i])) continue;
    if (!t->t->cascade)
      return session_fail(t->s, "0A000", arena_printf(&t->memory, "Table \"%s\" references \"%s\".", found[i], t->tables[at]),
                          arena_printf(&t->memory, "Truncate table \"%s\" at the same time, or use TRUNCATE ... CASCADE.", found[i]), "cannot truncate a table referenced in a foreign key constraint");
    if (t->n == TABLES_MOST) return error_set(&t->s->err, HDB_ERROR, "too many tables");
    session_notice(t->s, "NOTICE", "00000", arena_printf(&t->memory, "truncate cascades to table \"%s\"", found[i]));
    t->tables[t->n++] = found[i];
  }
  return HDB_OK;
}

static status restart(truncation *t, const char *table) {
  const char *found[TABLES_MOST], *name = sql_escaped(&t->memory, table);
  int n;
  TRY(names(t, arena_printf(&t->memory, "SELECT s.name FROM pg_depend d, pg_class c, pg_class t, sqlite_schema s WHERE d.deptype = 'a' AND c.oid = d.objid AND t.oid = d.refobjid AND lower(t.relname) = lower('%s') AND "
                                        "s.name = c.relname", name), found, &n));
  for (int i = 0; i < n; i++) {
    const char *sql = arena_printf(&t->memory, "ALTER SEQUENCE %s RESTART", quoted(t, found[i]));
    pg_token *tokens;
    int tokens_n;
    translation one;
    if (!sql) return error_set(&t->s->err, HDB_NOMEM, "out of memory");
    TRY(pg_tokenize(slice_str(sql), &t->memory, &tokens, &tokens_n, &t->s->err));
    TRY(translate(slice_str(sql), tokens, tokens_n, &t->memory, &one, &t->s->err));
    TRY(sequence_run(t->s, &one));
  }
  TRY(names(t, "SELECT name FROM sqlite_schema WHERE name = 'sqlite_sequence'", found, &n));
  return n ? run_text(t->s, arena_printf(&t->memory, "DELETE FROM sqlite_sequence WHERE lower(name) = lower('%s')", name)) : HDB_OK;
}

static status run(truncation *t) {
  const char *ignored[TABLES_MOST];
  int n;
  for (int i = 0; i < t->t->names_n && t->n < TABLES_MOST; i++) {
    const char *name = t->t->names[i];
    TRY(names(t, arena_printf(&t->memory, "SELECT relkind FROM pg_class WHERE lower(relname) = lower('%s') AND relkind IN ('r', 'v')", sql_escaped(&t->memory, name)), ignored, &n));
    if (n == 0) return error_set(&t->s->err, HDB_ERROR, "relation \"%s\" does not exist", name);
    if (*ignored[0] != 'r') return session_fail(t->s, "42809", NULL, NULL, "\"%s\" is not a table", name);
    if (!has(t, name)) t->tables[t->n++] = name;
  }
  for (int i = 0; i < t->n; i++) TRY(referring(t, i));
  TRY(run_text(t->s, "PRAGMA defer_foreign_keys=1")); /* in any order: at the end nothing refers to anything */
  status rc = HDB_OK;
  for (int i = 0; i < t->n && rc == HDB_OK; i++) rc = run_text(t->s, arena_printf(&t->memory, "DELETE FROM %s", quoted(t, t->tables[i])));
  if (rc == HDB_OK) rc = run_text(t->s, "PRAGMA defer_foreign_keys=0");
  for (int i = 0; i < t->n && rc == HDB_OK && t->t->temp; i++) rc = restart(t, t->tables[i]);
  return rc;
}

status truncate_run(session *s, const translation *t) {
  truncation x = {.s = s, .t = t};
  bool own = hdb_get_autocommit(s->db);
  status rc = own ? run_text(s, "BEGIN") : HDB_OK;
  if (rc == HDB_OK) rc = run(&x);
  if (own && rc == HDB_OK) rc = run_text(s, "COMMIT");
  if (own && rc != HDB_OK && !hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  s->queried = true;
  arena_clear(&x.memory);
  return rc;
}
