/* A session: what a connection's task owns (internal.h, N1).
 *
 * S1  After an error in the extended protocol everything up to Sync is read and dropped.
 * S2  block says what the client sees: BLOCK_NONE 'I', BLOCK_OPEN 'T', BLOCK_FAILED 'E'. `implicit` is a transaction
 *     opened for several statements of one simple query or of one pipeline; the client sees 'I'.
 * S3  A portal owns an engine statement while it is open; a prepared statement lends its own to one portal at a time.
 */
#ifndef HDB_SERVER_SESSION_H
#define HDB_SERVER_SESSION_H

#include "server/internal.h"
#include "server/translate.h"
#include "server/types.h"
#include "sql/describe.h"
#include "sql/pg_catalog.h"

enum session_state { STATE_STARTUP, STATE_PASSWORD, STATE_SASL_FIRST, STATE_SASL_FINAL, STATE_READY, STATE_COPY_IN, STATE_END };
enum block { BLOCK_NONE, BLOCK_OPEN, BLOCK_FAILED };

typedef struct prepared {
  struct prepared *next;
  char *name;            /* "" the unnamed one */
  arena memory;          /* everything below */
  const char *sql;       /* the whole query string the tokens are of */
  translation t;
  description d;
  hdb_stmt *statement;   /* of the last text; NULL when it is not the engine's */
  bool lent;             /* to a portal */
  int64_t made_us;       /* since 1970 */
  bool by_sql;           /* PREPARE: shown by pg_prepared_statements */
  uint64_t hash;         /* kept.c: of its text and given types, 0: it is not to be kept */
  size_t sql_n;
  uint32_t *given;
  int given_n;
} prepared;

typedef struct portal {
  struct portal *next;
  char *name;
  prepared *source;      /* kept by its count */
  hdb_stmt *statement;
  bool own;              /* finalize at the end, else give back */
  bool started, done, is_cursor, scroll, hold;
  uint16_t *formats;     /* one a column */
  value *values;         /* bound ones, of a statement that is not the engine's (DECLARE) */
  int values_n;
  arena memory;          /* bound values */
  int64_t rows;
  int64_t position;      /* cursors */
  buf kept;              /* rows of a held or scrolling cursor: length, DataRow body ... */
  size_t *row_starts;
  int64_t kept_n;
  bool materialized;
} portal;

typedef struct setting {
  struct setting *next;
  char *name, *value, *before; /* before: to restore at the transaction's end */
  char *start;                 /* what the client asked for at start-up: RESET goes back to it; NULL: the default */
  bool local, changed;
} setting;

typedef struct sequence_value { /* currval */
  struct sequence_value *next;
  char name[128];
  int64_t value;
} sequence_value;

typedef struct copy_state copy_state;

struct session {
  connection *c;
  server *server;
  hdb *db;
  enum session_state state;
  char *user, *database;
  scram *exchange;
  uint8_t salt[4];
  buf out;
  enum block block;
  bool implicit, skip_to_sync, read_only, extended;
  prepared *statements;
  prepared *pinned;      /* Execute runs it: DISCARD, DEALLOCATE and CLOSE in it let go of it only when it is over */
  bool pinned_dropped;
  portal *portals;
  setting *settings;
  copy_state *copy;
  struct remote *remote; /* another HeliosDB process speaks here (remote.c) */
  arena query_memory;    /* of the simple query at work */
  const char *query;     /* its text, for positions */
  error err;
  struct failure {       /* what err has beside its message; NULL fields: nothing */
    char sqlstate[6];
    char *detail, *hint, *table, *column, *constraint, *context;
  } failure;
  const translation *current; /* what ran when an error came; NULL: positions are of the query itself */
  slice pending;         /* simple query: what a COPY interrupted goes on with */
  struct simple_run *run;
  const pg_zone *zone;   /* TimeZone; NULL: UTC */
  long statement_timeout_ms, idle_timeout_ms, idle_in_transaction_ms;
  int level;             /* of isolation, as the engine has it (settings.c) */
  bool queried;          /* the transaction at work has read or written */
  char number_text[24];  /* a computed setting's */
  const char *encoding;  /* the client's, NULL: UTF-8 (encoding.c) */
  void *to_utf8, *from_utf8;
  portal *bound;         /* whose values a DECLARE at work takes; NULL: none */
  struct notification *notifications, *last_notification; /* of the transaction at work */
  sequence_value *sequence_values, *last_sequence;
  pg_source catalog;     /* what the engine asks for (catalog.c) */
  struct kept *kept;     /* statements for the next of their text (kept.c) */
  bool kept_stale;
  uint8_t next_type;     /* the type of the message behind the one at work, 0 unknown */
};

/* ---- session.c ---- */
void session_error(session *s, const char *sqlstate, const char *format, ...) __attribute__((format(printf, 3, 4)));
void session_fatal(session *s, const char *sqlstate, const char *format, ...) __attribute__((format(printf, 3, 4)));
void session_notice(session *s, const char *severity, const char *sqlstate, const char *message);
void session_send(session *s);       /* output so far to the client, with backpressure */
static inline void session_maybe_send(session *s) {
  if (s->out.n >= OUTPUT_CHUNK) session_send(s);
}
void session_ready(session *s);

/* ---- remote.c ---- */
bool remote_start(session *s);
void remote_free(session *s);
void remote_message(session *s, const message *m);

/* ---- catalog.c ---- */
void session_catalog(session *s);

/* ---- functions.c ---- */
void session_functions(session *s);

/* ---- errors.c ---- */
/* Reports s->err (already set), with the position in the query. */
void report_error(session *s);
/* s->err with a state and more; detail and hint may be NULL. */
status session_fail(session *s, const char *sqlstate, const char *detail, const char *hint, const char *format, ...) __attribute__((format(printf, 5, 6)));
void failure_clear(session *s);
/* The engine's last failure becomes s->err. */
status engine_failed(session *s, int rc);
/* Five characters by code and words; *message in PostgreSQL's words, in the buffer. */
const char *sqlstate_of(status code, const char *message, buf *words, error_fields *fields);

/* ---- query.c ---- */
void simple_query(session *s, const char *sql);
void simple_resume(session *s);      /* behind a COPY */
void simple_free(session *s);
void extended_parse(session *s, slice body);
void extended_bind(session *s, slice body);
void extended_describe(session *s, slice body);
void extended_execute(session *s, slice body);
void extended_close(session *s, slice body);
void extended_sync(session *s);
status prepare_statement(session *s, const char *name, const char *sql, slice tokens_of, const uint32_t *types, int types_n, prepared **out);
void prepared_free(prepared *p); /* of no list, without portals */
prepared *find_prepared(session *s, const char *name);
portal *find_portal(session *s, const char *name);
void prepared_drop(session *s, prepared *p);
void portal_drop(session *s, portal *p);
void portals_drop_all(session *s, bool transaction_ended);
status portal_new(session *s, const char *name, prepared *p, portal **out);
status bind_values(session *s, portal *o, const value *values, int n);
/* Rows to the client; limit 0: all. *suspended: there may be more. */
status portal_run(session *s, portal *o, int64_t limit, bool *suspended, bool send_rows);
void put_row_description(session *s, const description *d, const uint16_t *formats);
status run_text(session *s, const char *sql); /* without rows */
void run_begin(session *s);                   /* statement timeout and cancel armed */
void run_end(session *s);
status transaction_begin(session *s, bool implicit);
status transaction_end(session *s, bool commit);
void transaction_failed(session *s);          /* after an error */
status run_translation(session *s, const char *sql, const pg_token *tokens, int n, bool last_of_message);
/* IF [NOT] EXISTS: what is said about it. */
void existence_notices(session *s, const translation *t);
/* A CommandComplete for n rows. */
void put_tag(session *s, const translation *t, int64_t rows);
const char *label_encoding(session *s);

/* ---- kept.c ---- */
/* prepare_statement, or a kept one. */
status kept_prepare(session *s, const char *name, const char *sql, const uint32_t *types, int types_n, prepared **out);
/* For a simple query of one statement; values for its n parameters; NULL: it takes the plain way. */
prepared *kept_simple(session *s, const char *sql, int64_t *values, int *n);
bool kept_put(session *s, prepared *p); /* false: free it */
bool kept_tag(const translation *t);    /* of those that are kept and change nothing in others */
void kept_clear(session *s);
void kept_trim(session *s);             /* the session has nothing to do */
void kept_free(session *s);

/* ---- utility.c ---- */
status utility_run(session *s, const translation *t, const char *sql);

/* ---- settings.c ---- */
const char *setting_get(session *s, const char *name);
status setting_set(session *s, const char *name, const char *value, bool local);
void settings_transaction_end(session *s, bool commit);
void settings_start(session *s);
void settings_free(session *s);
status settings_opened(session *s);           /* the database is there: what was asked for at start-up takes effect */
status settings_reset_all(session *s);
status setting_reset(session *s, const char *name);
status transaction_settings(session *s);       /* before the engine's BEGIN: the isolation level */
status transaction_modes_check(session *s, const translation *t, int at);
status transaction_modes(session *s, const translation *t, int at, bool transaction);
void settings_rows(session *s, struct rowset *r); /* pg_settings */
status run_set(session *s, const translation *t);
status run_show(session *s, const translation *t);
const char *show_name(const translation *t, char *out, size_t size);
void text_row(session *s, int n, const char *const *values);

/* ---- utility.c, again ---- */
/* What a utility statement gives back: SHOW, FETCH, EXECUTE, EXPLAIN; false: no rows. */
void declare_describe(session *s, const translation *t, const char *sql, const uint32_t *types, int types_n, arena *memory, description *d); /* its parameters */
bool utility_describe(session *s, const translation *t, arena *memory, description *d);

/* ---- create_as.c ---- */
status create_as_run(session *s, const translation *t);

/* ---- sequence.c ---- */
void sequence_functions(session *s);
void sequences_free(session *s);
status sequence_run(session *s, const translation *t); /* ALTER, DROP SEQUENCE */

/* ---- drop.c ---- */
status drop_run(session *s, const translation *t);

/* ---- truncate.c ---- */
status truncate_run(session *s, const translation *t);

/* ---- enumeration.c ---- */
status type_run(session *s, const translation *t);

/* ---- roles.c ---- */
status role_run(session *s, const translation *t);

/* ---- notify.c ---- */
status notify_run(session *s, const translation *t);
status notify_send(session *s, const char *channel, const char *payload); /* at the transaction's end */
void notify_transaction_end(session *s, bool commit);
void notify_ready(session *s);             /* before ReadyForQuery */
void notify_quiet(session *s, bool quiet); /* behind it; a message has come */
void notify_unlisten(connection *c, const char *channel); /* NULL: all */
void notify_free(session *s);

/* ---- encoding.c ---- */
const char *encoding_name(const char *text); /* as PostgreSQL writes it; NULL: unknown */
status encoding_use(session *s, const char *name);
void encoding_free(session *s);
status encoding_in(session *s, slice bytes, arena *memory, slice *out); /* from the client; out may be bytes */
status encoding_out(session *s, buf *out, size_t from);                 /* the bytes from there on, to the client's */
const char *encoding_words(session *s, const char *text, buf *keep);    /* for one message; an empty buf */

/* ---- alter.c ---- */
const char *sql_escaped(arena *memory, const char *text); /* quotes doubled, for between them */
status alter_run(session *s, const translation *t, const char *query);
/* alter_drop.c: inside of a transaction. */
status alter_drop_column(session *s, const char *schema, const char *table, const char *column, bool if_exists);
status comment_run(session *s, const translation *t, const char *query);

/* ---- maintenance.c ---- */
status maintenance_run(session *s, const translation *t); /* LOCK, VACUUM, CHECKPOINT */

/* ---- copy.c ---- */
status copy_start(session *s, const translation *t, const char *sql);
void copy_data(session *s, slice body);
void copy_done(session *s);
void copy_fail(session *s, const char *reason);
void copy_free(session *s);

#endif
