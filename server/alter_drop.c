/* ALTER TABLE .. DROP COLUMN: indexes over the column and its foreign key go first, as PostgreSQL has it; then the engine
 * drops it. Keys that CREATE TABLE made are the engine's to refuse. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

enum { FOUND_MOST = 100 };

static const char *quoted(arena *memory, const char *name) {
  buf b = BUF_INIT;
  buf_quoted_name(&b, name);
  const char *text = arena_strndup(memory, b.p ? (const char *)b.p : "", b.n);
  buf_free(&b);
  return text ? text : "";
}

static status names(session *s, arena *memory, const char *sql, const char **found, int *n) {
  hdb_stmt *q;
  const char *tail;
  int rc = sql ? hdb_prepare(s->db, sql, -1, 0, &q, &tail) : HDB_NOMEM;
  if (rc != HDB_OK) return engine_failed(s, rc);
  for (*n = 0; (rc = hdb_step(q)) == HDB_ROW && *n < FOUND_MOST;) found[(*n)++] = arena_strdup(memory, hdb_column_text(q, 0));
  status failed = rc == HDB_ROW || rc == HDB_DONE ? HDB_OK : engine_failed(s, rc);
  hdb_finalize(q);
  return failed;
}

static status run_statement(session *s, arena *memory, const char *sql) {
  pg_token *tokens;
  int n;
  translation t;
  if (!sql) return error_set(&s->err, HDB_NOMEM, "out of memory");
  TRY(pg_tokenize(slice_str(sql), memory, &tokens, &n, &s->err));
  TRY(translate(slice_str(sql), tokens, n, memory, &t, &s->err));
  return alter_run(s, &t, sql);
}

status alter_drop_column(session *s, const char *schema, const char *table, const char *column, bool if_exists) {
  arena memory = ARENA_INIT;
  const char *found[FOUND_MOST], *t = sql_escaped(&memory, table), *c = sql_escaped(&memory, column);
  int n;
  status rc = HDB_OK;
  CHECK(names(s, &memory, arena_printf(&memory, "SELECT name FROM pragma_table_xinfo('%s') WHERE lower(name) = lower('%s')", t, c), found, &n));
  if (n == 0 && if_exists) {
    session_notice(s, "NOTICE", "00000", arena_printf(&memory, "column \"%s\" of relation \"%s\" does not exist, skipping", column, table));
    goto out;
  }
  if (n == 0) CHECK(session_fail(s, "42703", NULL, NULL, "column \"%s\" of relation \"%s\" does not exist", column, table));
  CHECK(names(s, &memory, arena_printf(&memory, "SELECT DISTINCT l.name FROM pragma_index_list('%s') l, pragma_index_info(l.name) i WHERE lower(i.name) = lower('%s') AND l.origin = 'c'", t, c), found, &n));
  for (int k = 0; k < n; k++) CHECK(run_text(s, arena_printf(&memory, "DROP INDEX %s", quoted(&memory, found[k]))));
  CHECK(names(s, &memory, arena_printf(&memory, "SELECT c.conname FROM pg_constraint c, pg_class r, pg_attribute a WHERE c.contype = 'f' AND r.oid = c.conrelid AND lower(r.relname) = lower('%s') AND "
                                                "a.attrelid = r.oid AND lower(a.attname) = lower('%s') AND a.attnum IN (SELECT value FROM json_each(c.conkey))", t, c), found, &n));
  for (int k = 0; k < n; k++) CHECK(run_statement(s, &memory, arena_printf(&memory, "ALTER TABLE %s DROP CONSTRAINT %s", quoted(&memory, table), quoted(&memory, found[k]))));
  CHECK(run_text(s, arena_printf(&memory, "ALTER TABLE %s%s%s DROP COLUMN %s", schema ? quoted(&memory, schema) : "", schema ? "." : "", quoted(&memory, table), quoted(&memory, column))));
out:
  arena_clear(&memory);
  return rc;
}
