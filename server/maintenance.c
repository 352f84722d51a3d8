/* LOCK TABLE, VACUUM, CHECKPOINT: what of them means something here.
 *
 * LOCK TABLE in a mode that keeps writers out has the transaction validate the whole table at its commit, as FOR UPDATE
 * does with rows; ACCESS SHARE asks for what a snapshot gives anyhow. VACUUM has nothing to clean (history goes by
 * itself), VACUUM ANALYZE gathers statistics. Tables that are not there are errors.
 */
#include "server/session.h"

static bool word(const translation *t, int at, const char *text) { return at < t->tokens_n && token_word(&t->tokens[at], text); }
static bool punct(const translation *t, int at, char c) { return at < t->tokens_n && t->tokens[at].kind == PT_PUNCT && *t->tokens[at].text == c; }

static status syntax_error(session *s, const translation *t, int at) {
  if (at >= t->tokens_n) return error_set(&s->err, HDB_ERROR, "syntax error at end of input");
  error_set(&s->err, HDB_ERROR, "syntax error at or near \"%s\"", t->tokens[at].text);
  s->err.offset = (int)t->tokens[at].at;
  return HDB_ERROR;
}

/* [schema .] name at *at, quoted into out. */
static status take_table(session *s, const translation *t, int *at, buf *out) {
  if (*at >= t->tokens_n || (t->tokens[*at].kind != PT_WORD && t->tokens[*at].kind != PT_QUOTED)) return syntax_error(s, t, *at);
  for (;;) {
    const char *name = t->tokens[*at].text;
    bool schema = punct(t, *at + 1, '.');
    if (schema && strcmp(name, "public") == 0) name = "main";
    buf_quoted_name(out, name);
    *at += schema ? 2 : 1;
    if (!schema) break;
    buf_byte(out, '.');
    if (*at >= t->tokens_n) return syntax_error(s, t, *at);
  }
  if (*at < t->tokens_n && t->tokens[*at].kind == PT_OPERATOR && strcmp(t->tokens[*at].text, "*") == 0) ++*at;
  return buf_cstr(out) ? HDB_OK : error_set(&s->err, HDB_NOMEM, "out of memory");
}

static status run_on(session *s, const char *before, const buf *table) {
  buf sql = BUF_INIT;
  buf_text(&sql, before);
  if (table) buf_append(&sql, table->p, table->n);
  status rc = buf_cstr(&sql) ? run_text(s, (const char *)sql.p) : error_set(&s->err, HDB_NOMEM, "out of memory");
  buf_free(&sql);
  return rc;
}

static status lock_one(session *s, const buf *table, bool validate) {
  if (!validate) return run_on(s, "SELECT 1 WHERE 0 AND EXISTS (SELECT 1 FROM ", table);
  int before = hdb_watch_reads(s->db);
  status rc = run_on(s, "SELECT count(*) FROM ", table); /* the range that it reads is the whole table */
  hdb_unwatch_reads(s->db, before);
  return rc;
}

static status lock_tables(session *s, const translation *t) {
  int i = word(t, 1, "table") ? 2 : 1, mode = t->tokens_n;
  if (s->block == BLOCK_NONE) return error_set(&s->err, HDB_ERROR, "LOCK TABLE can only be used in transaction blocks");
  for (int k = i; k < t->tokens_n; k++)
    if (word(t, k, "in") && mode == t->tokens_n) mode = k;
  bool share = word(t, mode + 1, "access") && word(t, mode + 2, "share");
  for (;;) {
    buf table = BUF_INIT;
    if (word(t, i, "only")) i++;
    status rc = take_table(s, t, &i, &table);
    if (rc == HDB_OK && share) buf_byte(&table, ')');
    if (rc == HDB_OK) rc = lock_one(s, &table, !share);
    buf_free(&table);
    TRY(rc);
    if (!punct(t, i, ',')) break;
    i++;
  }
  s->queried = true;
  if (i == mode) {
    while (i < t->tokens_n && !word(t, i, "mode")) i++;
    if (i == mode + 1 || (mode < t->tokens_n && i == t->tokens_n)) return syntax_error(s, t, i);
    if (mode < t->tokens_n) i++;
  }
  if (word(t, i, "nowait")) i++;
  return i < t->tokens_n ? syntax_error(s, t, i) : HDB_OK;
}

static status vacuum(session *s, const translation *t) {
  int i = 1;
  bool analyze = false;
  if (s->block != BLOCK_NONE) return error_set(&s->err, HDB_ERROR, "VACUUM cannot run inside a transaction block");
  if (punct(t, i, '(')) {
    for (i++; i < t->tokens_n && !punct(t, i, ')'); i++) analyze = analyze || (word(t, i, "analyze") && !word(t, i + 1, "false") && !word(t, i + 1, "off"));
    i++;
  }
  for (; word(t, i, "full") || word(t, i, "freeze") || word(t, i, "verbose") || word(t, i, "analyze") || word(t, i, "analyse"); i++)
    analyze = analyze || word(t, i, "analyze") || word(t, i, "analyse");
  if (i >= t->tokens_n) return analyze ? run_text(s, "ANALYZE") : HDB_OK;
  for (;;) {
    buf table = BUF_INIT;
    status rc = take_table(s, t, &i, &table);
    if (rc == HDB_OK && punct(t, i, '(')) { /* columns to analyze: all are */
      while (i < t->tokens_n && !punct(t, i, ')')) i++;
      i++;
    }
    if (rc == HDB_OK && analyze) rc = run_on(s, "ANALYZE ", &table);
    if (rc == HDB_OK) buf_byte(&table, ')');
    if (rc == HDB_OK) rc = run_on(s, "SELECT 1 WHERE 0 AND EXISTS (SELECT 1 FROM ", &table);
    buf_free(&table);
    TRY(rc);
    if (!punct(t, i, ',')) break;
    i++;
  }
  return i < t->tokens_n ? syntax_error(s, t, i) : HDB_OK;
}

status maintenance_run(session *s, const translation *t) {
  if (t->class == CLASS_LOCK) return lock_tables(s, t);
  if (t->class == CLASS_VACUUM) return vacuum(s, t);
  int rc = hdb_checkpoint(s->db);
  return rc == HDB_OK ? HDB_OK : engine_failed(s, rc);
}
