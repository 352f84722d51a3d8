/* PRAGMAs that ask or set: flags of the connection, numbers of a database, what is stored in the database.
 * What has no meaning here is kept and answered, as SQLite would answer it. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sql/mirror.h"
#include "sql/pragma.h"
#include "sql/sealed.h"

status pragma_nothing(pragma_call *p) { return HDB_OK; }

/* ---- flags ---- */

static bool *flag_of(pragma_call *p) { return (bool *)((char *)&p->db->pragmas + p->definition->data); }

status pragma_flag(pragma_call *p) {
  bool *flag = flag_of(p);
  if (!p->argument) return pragma_emit_int(p, *flag);
  bool wanted = pragma_boolean(p->argument);
  if (flag == &p->db->pragmas.writable_schema && p->db->pragmas.defensive) return HDB_OK;
  if (*flag == wanted) return HDB_OK;
  *flag = wanted;
  if (flag == &p->db->pragmas.defer_foreign_keys && !wanted) p->db->deferred_violations = 0;
  p->db->generation++;
  return HDB_OK;
}

/* Within a transaction it changes nothing. */
status pragma_foreign_keys(pragma_call *p) {
  if (p->argument && !p->db->autocommit) return HDB_OK;
  return pragma_flag(p);
}

status pragma_case_sensitive_like(pragma_call *p) {
  if (!p->argument) return HDB_OK;
  p->db->pragmas.case_sensitive_like = pragma_boolean(p->argument);
  p->db->generation++;
  return HDB_OK;
}

status pragma_dialect(pragma_call *p) {
  if (p->argument) {
    if (strcasecmp(p->argument, "postgres") == 0) p->db->pragmas.dialect = DIALECT_POSTGRES;
    else if (strcasecmp(p->argument, "sqlite") == 0) p->db->pragmas.dialect = DIALECT_SQLITE;
    else return error_set(p->err, HDB_ERROR, "no such dialect: %s", p->argument);
    p->db->generation++;
  }
  return pragma_emit_text(p, p->db->pragmas.dialect == DIALECT_POSTGRES ? "postgres" : "sqlite");
}

/* Seconds of history kept, stored with the database; 'inf' keeps all. */
status pragma_retention(pragma_call *p) {
  database *d = &p->db->databases[p->database];
  TRY(database_begin(p->db, p->database));
  if (p->argument) {
    char *end;
    double seconds = strtod(p->argument, &end);
    if (end == p->argument || *end || !(seconds >= 0)) return error_set(p->err, HDB_ERROR, "no number of seconds: %s", p->argument);
    if (d->read_only) return error_set(p->err, HDB_READONLY, "attempt to write a readonly database");
    if (txn_has_turn(d->txn)) return error_set(p->err, HDB_ERROR, "cannot change the retention within an immediate transaction");
    status rc = engine_set_retention(d->engine, seconds, p->db->busy_timeout_ms);
    if (rc == HDB_BUSY) return error_set(p->err, rc, "database is locked");
    if (rc != HDB_OK) return error_set(p->err, rc, "%s", status_text(rc));
  }
  double kept = engine_retention(d->engine);
  value row = kept < 9e15 && kept == (double)(int64_t)kept ? value_int((int64_t)kept) : value_real(kept);
  return pragma_emit(p, &row, 1);
}

/* 64 hex digits are a key, all else is a passphrase. */
status pragma_rekey(pragma_call *p) {
  uint8_t key[CRYPT_KEY];
  crypt_secret secret;
  if (!p->argument || !*p->argument) return error_set(p->err, HDB_ERROR, "a new key is needed: 64 hex digits, or a passphrase");
  if (!p->db->autocommit) return error_set(p->err, HDB_ERROR, "the key cannot be changed inside a transaction");
  bool is_key = crypt_key_from_hex(p->argument, strlen(p->argument), key);
  if (!crypt_secret_set(&secret, is_key ? key : NULL, is_key ? NULL : p->argument)) return sql_nomem(p->err);
  status rc = sealed_rekey(p->db, p->database, &secret);
  crypt_secret_clear(&secret);
  crypt_wipe(key, sizeof key);
  return rc == HDB_OK ? pragma_emit_text(p, "ok") : rc;
}

status pragma_conflict_policy(pragma_call *p) {
  static const char *const names[] = {[TXN_LAST_COMMIT_WINS] = "last_commit_wins", [TXN_FIRST_COMMIT_WINS] = "first_commit_wins", [TXN_SERIALIZABLE] = "serializable"};
  hdb *db = p->db;
  if (p->argument) {
    int wanted = -1;
    for (int i = 0; i < 3; i++)
      if (strcasecmp(names[i], p->argument) == 0) wanted = i;
    if (wanted < 0) return error_set(p->err, HDB_ERROR, "no such conflict policy: %s", p->argument);
    if (!db->autocommit) return error_set(p->err, HDB_ERROR, "the conflict policy cannot be changed inside a transaction");
    db->pragmas.policy = (uint8_t)wanted;
    for (int i = 0; i < db->databases_n; i++)
      if (db->databases[i].txn) txn_set_policy(db->databases[i].txn, (enum txn_policy)wanted);
  }
  return pragma_emit_text(p, names[db->pragmas.policy]);
}

/* ---- numbers of a database ---- */

static struct database_pragmas *settings_of(pragma_call *p) { return &p->db->databases[p->database].pragmas; }

status pragma_number_setting(pragma_call *p) {
  struct database_pragmas *s = settings_of(p);
  int64_t *number = (int64_t *)((char *)s + p->definition->data);
  if (p->argument) {
    int64_t wanted = pragma_integer(p->argument), whole;
    if (number == &s->max_page_count) {
      int64_t pages = 0;
      TRY(database_page_count(p->db, p->database, &pages));
      if (wanted > 0 && pragma_whole_integer(p->argument, &whole)) *number = wanted > 4294967294 ? 4294967294 : wanted < pages ? pages : wanted;
    } else if (number == &s->journal_size_limit) {
      *number = wanted < -1 ? -1 : wanted;
    } else {
      *number = wanted < 0 ? 0 : (int32_t)wanted;
    }
  }
  return pragma_emit_int(p, *number);
}

/* Kept with the file in SQLite; 0 is the default, a sign is not kept. */
status pragma_default_cache_size(pragma_call *p) {
  struct database_pragmas *s = settings_of(p);
  if (!p->argument) return pragma_emit_int(p, s->default_cache_size ? s->default_cache_size : -2000);
  int32_t size = pragma_int32(p->argument);
  s->default_cache_size = size < 0 ? -(int64_t)size : size;
  s->cache_size = s->default_cache_size;
  return HDB_OK;
}

status pragma_temp_store_directory(pragma_call *p) {
  struct stat st;
  if (!p->argument || !*p->argument) return HDB_OK;
  if (stat(p->argument, &st) != 0 || !S_ISDIR(st.st_mode) || access(p->argument, W_OK) != 0)
    return error_set(p->err, HDB_ERROR, "not a writable directory");
  return HDB_OK;
}

status pragma_cache_size(pragma_call *p) {
  struct database_pragmas *s = settings_of(p);
  if (!p->argument) return pragma_emit_int(p, s->cache_size);
  s->cache_size = pragma_int32(p->argument);
  return HDB_OK;
}

/* Answered from cache_size unless it was switched off. */
status pragma_cache_spill(pragma_call *p) {
  hdb *db = p->db;
  if (!p->argument) {
    int64_t size = settings_of(p)->cache_size;
    int64_t pages = size >= 0 ? size : -1024 * size / (settings_of(p)->page_size + 144);
    if (db->config.no_cache_spill) return pragma_emit_int(p, 0);
    return pragma_emit_int(p, db->config.cache_spill > pages ? db->config.cache_spill : pages);
  }
  int64_t size;
  bool is_number = pragma_whole_integer(p->argument, &size) && size >= INT32_MIN && size <= INT32_MAX;
  if (is_number) db->config.cache_spill = (int)size;
  db->config.no_cache_spill = pragma_level(p->argument, !is_number || size != 0) == 0;
  return HDB_OK;
}

status pragma_mmap_size(pragma_call *p) {
  struct database_pragmas *s = settings_of(p);
  if (p->argument) {
    s->mmap_size = pragma_integer(p->argument);
    if (s->mmap_size < 0) s->mmap_size = 0;
    if (s->mmap_size > 0x7fff0000) s->mmap_size = 0x7fff0000;
  }
  return p->db->databases[p->database].is_memory ? HDB_OK : pragma_emit_int(p, s->mmap_size);
}

/* 0: the default (-2000 pages of SQLite), in this process only. */
status pragma_process_limit(pragma_call *p) {
  static _Atomic int64_t limits[2];
  _Atomic int64_t *limit = &limits[p->definition->data];
  if (p->argument) {
    int64_t wanted;
    if (pragma_whole_integer(p->argument, &wanted) && wanted >= 0) *limit = wanted;
  }
  return pragma_emit_int(p, *limit);
}

status pragma_threads(pragma_call *p) {
  if (p->argument) {
    int64_t wanted;
    if (pragma_whole_integer(p->argument, &wanted) && wanted >= 0) hdb_limit(p->db, HDB_LIMIT_WORKER_THREADS, wanted > 8 ? 8 : (int)wanted);
  }
  return pragma_emit_int(p, p->db->limits[HDB_LIMIT_WORKER_THREADS]);
}

status pragma_analysis_limit(pragma_call *p) {
  if (p->argument) {
    int64_t wanted;
    if (pragma_whole_integer(p->argument, &wanted) && wanted >= 0) p->db->config.analysis_limit = (int)(wanted & 0x7fffffff);
  }
  return pragma_emit_int(p, p->db->config.analysis_limit);
}

status pragma_busy_timeout(pragma_call *p) {
  if (p->argument) {
    hdb_busy_timeout(p->db, pragma_int32(p->argument));
  }
  return pragma_emit_int(p, p->db->busy_timeout_ms);
}

/* ---- safety and files ---- */

status pragma_synchronous(pragma_call *p) {
  database *d = &p->db->databases[p->database];
  if (!p->argument) return pragma_emit_int(p, d->pragmas.synchronous);
  if (!p->db->autocommit) return error_set(p->err, HDB_ERROR, "Safety level may not be changed inside a transaction");
  if (p->database == DB_TEMP) return HDB_OK;
  int level = (pragma_level(p->argument, 1) + 1) & 7;
  d->pragmas.synchronous = (uint8_t)((level ? level : 1) - 1);
  int sync = d->pragmas.synchronous > TXN_SYNC_FULL ? TXN_SYNC_FULL : d->pragmas.synchronous;
  if (d->txn) txn_set_sync(d->txn, (enum txn_sync)sync);
  return HDB_OK;
}

static bool is_empty(pragma_call *p) {
  schema *s;
  return catalog_schema(p->db, p->database, &s) == HDB_OK && s->tables_n == 0;
}

/* wal is remembered with the database, as SQLite remembers it in the file. */
static status journal_mode_set(pragma_call *p, int database, const char *mode) {
  struct database *d = &p->db->databases[database];
  if (d->is_memory) {
    if (strcmp(mode, "memory") == 0 || strcmp(mode, "off") == 0) snprintf(d->pragmas.journal_mode, sizeof d->pragmas.journal_mode, "%s", mode);
    return HDB_OK;
  }
  bool was_wal = strcmp(d->pragmas.journal_mode, "wal") == 0, is_wal = strcmp(mode, "wal") == 0;
  if (was_wal != is_wal) {
    if (!p->db->autocommit)
      return error_set(p->err, HDB_ERROR, "cannot change %s wal mode from within a transaction", is_wal ? "into" : "out of");
    if (d->read_only) return HDB_OK;
    status rc = engine_setting_put(d->engine, "journal_mode", slice_str(is_wal ? "wal" : "delete"));
    if (rc != HDB_OK) return error_set(p->err, rc, "%s", status_text(rc));
  }
  snprintf(d->pragmas.journal_mode, sizeof d->pragmas.journal_mode, "%s", mode);
  return HDB_OK;
}

status pragma_journal_mode(pragma_call *p) {
  static const char *const modes[] = {"delete", "persist", "off", "truncate", "memory", "wal"};
  const char *wanted = NULL;
  for (size_t i = 0; p->argument && i < sizeof modes / sizeof *modes; i++)
    if (!wanted && strncasecmp(modes[i], p->argument, strlen(p->argument)) == 0) wanted = modes[i]; /* a beginning will do */
  if (wanted && strcmp(wanted, "off") == 0 && p->db->pragmas.defensive) wanted = NULL;
  for (int i = p->db->databases_n - 1; wanted && i >= 0; i--) {
    if (!p->db->databases[i].engine || (p->qualified && i != p->database)) continue;
    TRY(journal_mode_set(p, i, wanted));
  }
  return pragma_emit_text(p, p->db->databases[p->database].pragmas.journal_mode);
}

status pragma_locking_mode(pragma_call *p) {
  int wanted = -1;
  if (p->argument && strcasecmp(p->argument, "exclusive") == 0) wanted = 1;
  if (p->argument && strcasecmp(p->argument, "normal") == 0) wanted = 0;
  for (int i = 0; wanted >= 0 && i < p->db->databases_n; i++)
    if (!p->qualified || i == p->database) p->db->databases[i].pragmas.exclusive = wanted;
  bool exclusive = settings_of(p)->exclusive || p->database == DB_TEMP || (p->qualified && p->db->databases[p->database].is_memory);
  return pragma_emit_text(p, exclusive ? "exclusive" : "normal");
}

status pragma_auto_vacuum(pragma_call *p) {
  struct database_pragmas *s = settings_of(p);
  if (!p->argument) return pragma_emit_int(p, s->auto_vacuum);
  int wanted = 0;
  if (strcasecmp(p->argument, "full") == 0) wanted = 1;
  else if (strcasecmp(p->argument, "incremental") == 0) wanted = 2;
  else if (strcasecmp(p->argument, "none") != 0) wanted = atoi(p->argument);
  if (wanted < 0 || wanted > 2) wanted = 0;
  if (is_empty(p)) s->auto_vacuum = (uint8_t)wanted;
  return HDB_OK;
}

status pragma_secure_delete(pragma_call *p) {
  if (p->argument) {
    uint8_t wanted = strcasecmp(p->argument, "fast") == 0 ? 2 : pragma_boolean(p->argument);
    for (int i = 0; i < p->db->databases_n; i++)
      if (!p->qualified || i == p->database) p->db->databases[i].pragmas.secure_delete = wanted;
  }
  return pragma_emit_int(p, settings_of(p)->secure_delete);
}

status pragma_temp_store(pragma_call *p) {
  if (!p->argument) return pragma_emit_int(p, p->db->pragmas.temp_store);
  uint8_t wanted = 0;
  if (p->argument[0] >= '0' && p->argument[0] <= '2') wanted = (uint8_t)(p->argument[0] - '0');
  else if (strcasecmp(p->argument, "file") == 0) wanted = 1;
  else if (strcasecmp(p->argument, "memory") == 0) wanted = 2;
  if (wanted == p->db->pragmas.temp_store) return HDB_OK;
  database *temp = &p->db->databases[DB_TEMP];
  if (temp->engine) { /* what was there goes with the old storage */
    if (!p->db->autocommit || txn_is_open(temp->txn))
      return error_set(p->err, HDB_ERROR, "temporary storage cannot be changed from within a transaction");
    database_close(p->db, temp);
    temp->filename = strdup("");
    p->db->generation++;
  }
  p->db->pragmas.temp_store = wanted;
  return HDB_OK;
}

status pragma_page_size(pragma_call *p) {
  struct database_pragmas *s = settings_of(p);
  if (!p->argument) return pragma_emit_int(p, s->page_size);
  int64_t wanted = pragma_integer(p->argument);
  if (wanted >= 512 && wanted <= 65536 && (wanted & (wanted - 1)) == 0 && is_empty(p)) s->page_size = wanted;
  return HDB_OK;
}

/* Of app.db as last written; in memory, what the trees would need. */
status database_page_count(hdb *db, int number, int64_t *pages) {
  database *d = &db->databases[number];
  struct stat st;
  *pages = 0;
  if (!d->engine) return HDB_OK;
  if (!d->is_memory && stat(d->filename, &st) == 0 && st.st_size > 0) {
    *pages = st.st_size / d->pragmas.page_size;
    return HDB_OK;
  }
  schema *s;
  TRY(catalog_schema(db, number, &s));
  if (s->tables_n == 0) return HDB_OK;
  *pages = 1;
  for (int i = 0; i < s->tables_n + s->indexes_n; i++) {
    uint32_t tree = i < s->tables_n ? s->in_order[i]->tree : s->indexes[i - s->tables_n]->tree;
    int64_t rows = 0, bytes = 0;
    if (!tree || (i >= s->tables_n && (s->indexes[i - s->tables_n]->is_primary || index_is_vector(s->indexes[i - s->tables_n])))) continue;
    txn_estimate(d->txn, tree, &rows, &bytes);
    *pages += 1 + bytes / d->pragmas.page_size;
  }
  return HDB_OK;
}

status pragma_page_count(pragma_call *p) {
  int64_t pages;
  TRY(database_page_count(p->db, p->database, &pages));
  return pragma_emit_int(p, pages);
}

status pragma_freelist_count(pragma_call *p) { return pragma_emit_int(p, 0); }

status pragma_wal_checkpoint(pragma_call *p) {
  hdb *db = p->db;
  bool wal = false, busy = false;
  for (int i = 0; i < db->databases_n; i++) {
    database *d = &db->databases[i];
    if (!d->engine || d->is_memory || (p->qualified && i != p->database)) continue;
    wal = wal || strcmp(d->pragmas.journal_mode, "wal") == 0;
    if (txn_is_open(d->txn)) {
      busy = !db->autocommit && txn_has_writes(d->txn);
      continue;
    }
    status rc = engine_checkpoint(d->engine);
    if (rc != HDB_OK) return error_set(p->err, rc, "%s", status_text(rc));
    TRY(mirror_checkpoint(db, i));
  }
  if (busy) return error_set(p->err, HDB_LOCKED, "database table is locked");
  value row[3] = {value_int(0), value_int(wal ? 0 : -1), value_int(wal ? 0 : -1)};
  return pragma_emit(p, row, 3);
}

/* ---- what is stored in the database ---- */

static status number_get(pragma_call *p, const char *name, int64_t otherwise, int64_t *v) {
  *v = otherwise;
  if (p->database == DB_TEMP && !p->db->databases[DB_TEMP].engine) return HDB_OK;
  TRY(database_begin(p->db, p->database));
  return database_get_number(p->db, p->database, name, otherwise, v);
}

status pragma_header_value(pragma_call *p) {
  int64_t v;
  if (p->argument) return database_set_number(p->db, p->database, p->definition->name, pragma_int32(p->argument));
  TRY(number_get(p, p->definition->name, 0, &v));
  return pragma_emit_int(p, v);
}

status pragma_schema_version(pragma_call *p) {
  int64_t v;
  if (p->argument) {
    if (p->db->pragmas.defensive) return HDB_OK;
    p->db->generation++;
    return database_set_number(p->db, p->database, "schema_version", pragma_int32(p->argument));
  }
  TRY(number_get(p, "schema_version", 0, &v));
  return pragma_emit_int(p, v);
}

/* Moves when others have committed since it was last asked. */
status pragma_data_version(pragma_call *p) {
  database *d = &p->db->databases[p->database];
  if (!d->engine) return pragma_emit_int(p, 1);
  int64_t newest = d->txn && txn_is_open(d->txn) ? txn_view_time(d->txn) : engine_newest(d->engine);
  if (newest > d->last_seen) {
    d->data_version++;
    d->last_seen = newest;
  }
  return pragma_emit_int(p, d->data_version);
}

status pragma_encoding(pragma_call *p) {
  static const struct {
    const char *name;
    int number;
  } encodings[] = {{"UTF8", 1}, {"UTF-8", 1}, {"UTF-16le", 2}, {"UTF-16be", 3}, {"UTF16le", 2}, {"UTF16be", 3}, {"UTF-16", 2}, {"UTF16", 2}};
  if (!p->argument) {
    int64_t number;
    TRY(number_get(p, "encoding", 1, &number));
    return pragma_emit_text(p, number == 2 ? "UTF-16le" : number == 3 ? "UTF-16be" : "UTF-8");
  }
  if (!is_empty(p)) return HDB_OK;
  for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
    if (strcasecmp(encodings[i].name, p->argument) == 0)
      return database_set_number(p->db, p->database, "encoding", encodings[i].number);
  return error_set(p->err, HDB_ERROR, "unsupported encoding: %s", p->argument);
}
