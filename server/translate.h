/* PostgreSQL's spelling to the engine's: one statement's tokens in, one or more SQL texts out.
 *
 * The engine's own lexer and grammar do the parsing; what is written here is what they then read. Because the output is
 * SQLite's SQL wherever SQLite can say it, the texts of tables, views and indexes made over the wire stay readable to
 * SQLite. What cannot be said fails with "not supported yet: X"; nothing is dropped silently but storage hints
 * (fillfactor, TABLESPACE, UNLOGGED, CONCURRENTLY) and locks that snapshots make needless.
 * T1  Every output token knows the input token it came from (translation_position).
 */
#ifndef HDB_SERVER_TRANSLATE_H
#define HDB_SERVER_TRANSLATE_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum pg_token_kind { PT_END, PT_WORD, PT_QUOTED, PT_STRING, PT_NUMBER, PT_PARAM, PT_OPERATOR, PT_PUNCT };
typedef struct pg_token {
  uint8_t kind;
  bool space;        /* white space before it */
  uint32_t at, n;    /* place in the query's text */
  const char *text;  /* word: folded; quoted: without quotes; string: its value; else as written. NUL-terminated */
  uint32_t text_n;
} pg_token;

/* All tokens of a query string, a PT_END at the end. In the arena. */
status pg_tokenize(slice sql, arena *memory, pg_token **tokens, int *n, error *err);

enum statement_class {
  CLASS_SQL,         /* run by the engine: texts */
  CLASS_EMPTY,
  CLASS_BEGIN, CLASS_COMMIT, CLASS_ROLLBACK, CLASS_SAVEPOINT, CLASS_RELEASE, CLASS_ROLLBACK_TO,
  CLASS_SET, CLASS_SHOW, CLASS_RESET, CLASS_DISCARD,
  CLASS_PREPARE, CLASS_EXECUTE, CLASS_DEALLOCATE,
  CLASS_DECLARE, CLASS_FETCH, CLASS_MOVE, CLASS_CLOSE,
  CLASS_COPY, CLASS_LISTEN, CLASS_NOTIFY, CLASS_UNLISTEN, CLASS_NOTHING, CLASS_ROLE, CLASS_COMMENT, CLASS_EXPLAIN, CLASS_LOCK, CLASS_VACUUM, CLASS_CHECKPOINT,
  CLASS_SEQUENCE,    /* ALTER, DROP SEQUENCE: object, sequence */
  CLASS_TRUNCATE,    /* names; temp: RESTART IDENTITY (truncate.c) */
  CLASS_TYPE,        /* CREATE, ALTER, DROP TYPE (enumeration.c) */
  CLASS_DROP,        /* DROP TABLE, DROP VIEW: names, texts */
  CLASS_CREATE_AS,   /* CREATE TABLE AS, SELECT INTO: object, texts[0] the query */
  CLASS_ALTER        /* ALTER TABLE with actions that edit its text: object, actions */
};

typedef struct translation_piece {
  uint32_t out, in;
} translation_piece;

/* CREATE and ALTER SEQUENCE */
typedef struct sequence_options {
  int64_t increment, least, most, start, restart_with;
  bool increment_given, least_given, most_given, start_given, cycle, cycle_given, restart, restart_given, only_owner;
  const char *type;
} sequence_options;

/* An action of ALTER TABLE: run as text by the engine, or as tokens [from, to) by the server (alter.c). */
typedef struct alter_action {
  int from, to;
  const char *text;
  const char *then;   /* run behind text */
  const char *unless; /* ADD COLUMN IF NOT EXISTS: nothing is done when the table has this column */
} alter_action;

typedef struct translation {
  enum statement_class class;
  const char *tag;        /* of CommandComplete, without counts */
  bool counts;            /* tag is followed by a row count */
  const char *notice;     /* sent before the tag, NULL: none */
  char **texts;           /* CLASS_SQL: in order; only the last gives rows */
  int texts_n;
  const pg_token *tokens; /* of the statement, PT_END behind */
  int tokens_n;
  translation_piece *pieces; /* of the only text */
  int pieces_n, pieces_capacity;
  const char *if_exists[32]; /* DROP IF EXISTS: a notice for each that is not there */
  int if_exists_n;
  const char *if_exists_kind;
  const char *unless_exists; /* nothing is run when there is a relation of this name */
  const char *if_not_exists; /* CREATE IF NOT EXISTS: a notice when it is there */
  bool locks;             /* SELECT .. FOR UPDATE and its like: what it reads is validated at the commit */
  const char *object, *object_schema; /* CLASS_ALTER */
  bool cascade;           /* CLASS_DROP */
  bool temp, no_data;     /* CLASS_CREATE_AS */
  const char *const *names; /* ... of the new columns; NULL: the query's */
  int names_n;
  int hidden;             /* result columns at the end that only order the rows: not the client's (DISTINCT ON) */
  sequence_options sequence;
  alter_action *actions;
  int actions_n;
} translation;

/* sql: the query string the tokens are of. */
status translate(slice sql, const pg_token *tokens, int n, arena *memory, translation *out, error *err);
/* Byte offset in the query string of a byte of the text. */
uint32_t translation_position(const translation *t, uint32_t offset);
/* Rewrites a token range as an expression or query; for the session's own statements (COPY (query), DECLARE). */
status translate_range(slice sql, const pg_token *tokens, int from, int to, arena *memory, char **text, error *err);

/* A type, a DEFAULT clause (tokens[from] is the word) of such a statement. */
status translate_type(slice sql, const pg_token *tokens, int from, int to, arena *memory, const char **type, int *next, error *err);
status translate_default(slice sql, const pg_token *tokens, int from, int to, arena *memory, char **text, error *err);

static inline bool token_word(const pg_token *t, const char *word) {
  return t->kind == PT_WORD && strcmp(t->text, word) == 0;
}

#endif
