/* ATTACH and DETACH. Their arguments are expressions; a bare name is its own text, as in SQLite.
 *
 * KEY is a passphrase, or 64 hex digits or 32 bytes of a key; without it an encrypted file, or a new one beside an encrypted
 * main, takes main's; KEY '' is none. A place in hdb.databases is used again once its database is detached; main and temp keep theirs.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/catalog_build.h"

typedef struct attach {
  expr_program *file, *name, *key;
} attach;

static status compile_argument(compile *c, expr *e, expr_program **out) {
  *out = NULL;
  if (!e) return HDB_OK;
  if (e->op == EX_ID) {
    e->op = EX_TEXT;
    e->text_n = (uint32_t)strlen(e->text);
  }
  scope sc = {.allow = ALLOW_PARAM | ALLOW_NONDETERMINISTIC | ALLOW_SUBQUERY | ALLOW_DQS, .excluded_slot = -1};
  TRY(resolve_expr(c, &sc, &e));
  return expr_compile(c, e, out);
}

static status evaluate(exec *x, const expr_program *p, char **out) {
  const value *v;
  slice text = {0, 0};
  *out = NULL;
  if (p) {
    TRY(expr_eval(x, p, &v));
    if (v->type != VAL_NULL) TRY(value_to_text(v, &x->memory, &text));
  }
  *out = strndup(text.n ? (const char *)text.p : "", text.n);
  return *out ? HDB_OK : sql_nomem(x->err);
}

static int attached_count(const hdb *db) {
  int n = 0;
  for (int i = DB_FIRST_ATTACHED; i < db->databases_n; i++) n += db->databases[i].name != NULL;
  return n;
}

/* Text is UTF-8 in all of them; the rule is SQLite's. */
static status same_encoding(hdb *db, int number) {
  schema *s;
  int64_t ours, theirs;
  TRY(catalog_schema(db, number, &s));
  if (s->tables_n == 0) return HDB_OK;
  TRY(database_begin(db, DB_MAIN));
  TRY(database_get_number(db, DB_MAIN, "encoding", 1, &ours));
  TRY(database_get_number(db, number, "encoding", 1, &theirs));
  if (ours == theirs) return HDB_OK;
  return error_set(&db->err, HDB_ERROR, "attached databases must use the same text encoding as main database");
}

/* key: empty takes none. While the file is opened, it stands where main's is. */
static status open_with_key(hdb *db, database *d, const open_request *request, const value *key) {
  if (!key) return database_open(db, d, request, NULL);
  crypt_secret kept = db->secret;
  hdb_settings settings = {.retention = NAN, .mirror = -1};
  uint8_t bytes[CRYPT_KEY];
  slice text = slice_of(key->p, key->type == VAL_TEXT || key->type == VAL_BLOB ? key->n : 0);
  char *phrase = strndup(text.n ? (const char *)text.p : "", text.n);
  bool is_key = key->type == VAL_BLOB && text.n == CRYPT_KEY;
  if (is_key) memcpy(bytes, text.p, CRYPT_KEY);
  else is_key = text.n && crypt_key_from_hex((const char *)text.p, text.n, bytes);
  bool good = phrase && crypt_secret_set(&db->secret, is_key ? bytes : NULL, is_key || !text.n ? NULL : phrase);
  status rc = good ? database_open(db, d, request, text.n ? &settings : NULL) : sql_nomem(&db->err);
  if (phrase) crypt_wipe(phrase, text.n);
  free(phrase);
  crypt_wipe(bytes, sizeof bytes);
  crypt_secret_clear(&db->secret);
  db->secret = kept;
  return rc;
}

static status attach_database(exec *x, const char *file, const char *name, const value *key) {
  hdb *db = x->db;
  open_request request = {0};
  if (db->confined && *file && strcmp(file, ":memory:") != 0) return error_set(x->err, HDB_AUTH, "permission denied to attach a file of the server");
  if (attached_count(db) >= db->limits[HDB_LIMIT_ATTACHED])
    return error_set(x->err, HDB_ERROR, "too many attached databases - max %d", db->limits[HDB_LIMIT_ATTACHED]);
  if (catalog_database(db, name) >= 0) return error_set(x->err, HDB_ERROR, "database %s is already in use", name);
  int place = DB_FIRST_ATTACHED;
  while (place < db->databases_n && db->databases[place].name) place++;
  database *d = &db->databases[place];
  memset(d, 0, sizeof *d);
  if (place == db->databases_n) db->databases_n++;
  status rc = uri_parse(file, db->open_flags & ~HDB_OPEN_MEMORY, &request, &db->err);
  if (rc == HDB_OK) {
    rc = open_with_key(db, d, &request, key);
    if ((rc & 0xff) == HDB_CANTOPEN) rc = error_set(&db->err, rc, "unable to open database: %s", request.path);
  }
  free(request.path);
  if (rc == HDB_OK && !(d->name = strdup(name))) {
    database_close(db, d);
    rc = sql_nomem(&db->err);
  }
  if (rc != HDB_OK) {
    free(d->name);
    memset(d, 0, sizeof *d);
    while (db->databases_n > DB_FIRST_ATTACHED && !db->databases[db->databases_n - 1].name) db->databases_n--;
    return rc;
  }
  db->generation++;
  rc = same_encoding(db, place);
  if (rc != HDB_OK) {
    error kept = db->err;
    db->err = (error)ERROR_INIT;
    if (txn_is_open(d->txn)) txn_rollback(d->txn);
    database_close(db, d);
    free(d->name);
    memset(d, 0, sizeof *d);
    while (db->databases_n > DB_FIRST_ATTACHED && !db->databases[db->databases_n - 1].name) db->databases_n--;
    error_clear(&db->err);
    db->err = kept;
  }
  return rc;
}

static status attach_start(exec *x) {
  const attach *a = x->program->data;
  char *file = NULL, *name = NULL;
  status rc = evaluate(x, a->file, &file);
  if (rc == HDB_OK) rc = evaluate(x, a->name, &name);
  const value *key = NULL;
  if (rc == HDB_OK && a->key) rc = expr_eval(x, a->key, &key);
  if (rc == HDB_OK) rc = attach_database(x, file, name, key);
  free(file);
  free(name);
  return rc;
}

static status detach_database(exec *x, const char *name) {
  hdb *db = x->db;
  int number = catalog_database(db, name);
  if (number < 0 || !db->databases[number].engine) return error_set(x->err, HDB_ERROR, "no such database: %s", name);
  if (number < DB_FIRST_ATTACHED) return error_set(x->err, HDB_ERROR, "cannot detach database %s", name);
  database *d = &db->databases[number];
  if (d->txn && txn_is_open(d->txn) && (!db->autocommit || atomic_load(&db->active) > 1 || d->backups > 0))
    return error_set(x->err, HDB_ERROR, "database %s is locked", name);
  if (d->backups > 0) return error_set(x->err, HDB_ERROR, "database %s is locked", name);
  database_close(db, d);
  free(d->name);
  memset(d, 0, sizeof *d);
  while (db->databases_n > DB_FIRST_ATTACHED && !db->databases[db->databases_n - 1].name) db->databases_n--;
  db->generation++;
  return HDB_OK;
}

static status detach_start(exec *x) {
  const attach *a = x->program->data;
  char *name;
  TRY(evaluate(x, a->name, &name));
  status rc = detach_database(x, name);
  free(name);
  return rc;
}

status compile_attach(compile *c, statement *s) {
  attach *a = arena_zero(c->memory, sizeof *a);
  if (!a) return sql_nomem(c->err);
  bool attaching = s->kind == ST_ATTACH, ignore = false;
  expr *shown = attaching ? s->attach.file : s->attach.name;
  const char *argument = shown && (shown->op == EX_TEXT || shown->op == EX_ID) ? shown->text : NULL;
  TRY(compile_authorize(c, attaching ? HDB_ATTACH : HDB_DETACH, argument, NULL, -1, &ignore));
  if (attaching) TRY(compile_argument(c, s->attach.file, &a->file));
  if (attaching) TRY(compile_argument(c, s->attach.key, &a->key));
  TRY(compile_argument(c, s->attach.name, &a->name));
  c->program->needs_no_transaction = true;
  c->program->read_only = true;
  c->program->holds_secret = a->key != NULL;
  return rows_program(c, attaching ? attach_start : detach_start, a, NULL, 0);
}
