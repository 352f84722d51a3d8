/* Full-text search: FTS5 and FTS3/4 virtual tables on one engine. See fts.c for how it hangs together. */
#ifndef HDB_SQL_FTS_H
#define HDB_SQL_FTS_H

#include "sql/internal.h"
#include "sql/virtual.h"

/* ---- tokenizers (fts_tokenize.c) ---- */
enum fts_tokenizer_kind { FTS_UNICODE61, FTS_ASCII, FTS_SIMPLE, FTS_PORTER3, FTS_TRIGRAM };
typedef struct fts_tokenizer {
  uint8_t kind;
  bool porter;               /* FTS5's porter on top of another */
  uint8_t diacritics;        /* 0 keep, 1, 2 */
  bool case_sensitive;       /* trigram */
  const uint32_t *more, *fewer; /* tokenchars=, separators=, 0-terminated; NULL: none */
} fts_tokenizer;
/* words: the tokenizer and its arguments, unquoted. HDB_ERROR without words: not known or a bad argument. */
status fts_tokenizer_parse(arena *memory, int version, const char *const *words, int n, fts_tokenizer *out);
/* Bytes from, to of the text; the token is valid during the call. Another status than HDB_OK ends it. */
typedef status (*fts_token_visitor)(void *context, const char *token, size_t n, size_t from, size_t to);
status fts_tokenize(const fts_tokenizer *k, slice text, fts_token_visitor visit, void *context);

/* ---- a table ---- */
enum fts_content { FTS_CONTENT_OWN, FTS_CONTENT_NONE, FTS_CONTENT_OTHER };
typedef struct fts_config {
  virtual_instance instance;
  int version;               /* 3, 4, 5 */
  int columns_n;             /* the user's; then hidden: the table itself, then rank (5) or docid (3, 4), langid */
  const char **columns;
  bool *unindexed;
  fts_tokenizer tokenizer;
  uint8_t content;
  const char *content_table, *content_rowid, *language;
  bool columnsize, has_docsize, has_stat, descending;
  const char *const *shadows;
} fts_config;

/* ---- queries (fts_query.c) ---- */
enum fts_op { FTS_AND, FTS_OR, FTS_NOT, FTS_NEAR, FTS_NOTHING };
enum { FTS_NEAR_MAX = 64 };
typedef struct fts_term {
  const char *p;
  size_t n;
  bool prefix, first;        /* first: must be the column's first token (FTS3/4) */
} fts_term;
typedef struct fts_phrase {
  int n, number;
  fts_term *terms;
} fts_phrase;
typedef struct fts_node fts_node;
struct fts_node {
  uint8_t op;
  fts_node *left, *right;
  int phrases_n, distance;   /* FTS_NEAR: phrases near each other; one: just it */
  fts_phrase *phrases;
  bool first;                /* ^ */
  bool *columns;             /* NULL: any */
  bool matched;              /* during fts_evaluate */
};
typedef struct fts_query {
  fts_node *root;            /* NULL: nothing matches */
  fts_phrase **phrases;
  int phrases_n, visible_n;  /* visible: what matchinfo() tells of */
} fts_query;
/* column >= 0: MATCH on that column. Errors as SQLite words them. */
status fts5_parse(const fts_config *f, slice text, int column, arena *memory, error *err, fts_query *out);
status fts3_parse(const fts_config *f, slice text, int column, arena *memory, error *err, fts_query *out);
/* One expression of several MATCHes. */
status fts_query_and(arena *memory, fts_query *to, const fts_query *more);

/* ---- evaluation (fts_match.c) ---- */
typedef struct fts_hit {
  int phrase, column, offset, term; /* offset in tokens; term: FTS3's offsets() */
} fts_hit;
typedef struct fts_match {
  int64_t rowid;
  int hits_n;
  const fts_hit *hits;       /* by column, offset, phrase */
  const int *sizes;          /* tokens, by column */
  double rank;
} fts_match;
typedef struct fts_result {
  fts_match *matches;        /* by row id */
  int64_t n, capacity;
  int64_t rows;              /* of the table */
  int64_t *tokens;           /* by column, in all rows */
  int64_t *phrase_rows;      /* by phrase: rows that have it */
  int64_t *column_hits, *column_rows; /* by phrase and column (matchinfo) */
} fts_result;
/* Reads every row: see fts_match.c. */
status fts_run(exec *x, const fts_config *f, const table *t, const fts_query *q, arena *memory, fts_result *out);

/* ---- rows (fts.c) ---- */
typedef struct fts_cursor fts_cursor;
struct fts_cursor {
  fts_cursor *next;          /* hdb.fts_cursors */
  int64_t id;
  exec *x;
  const table *t;
  const fts_config *f;
  const table *content;      /* NULL: none */
  cursor *rows;
  int number;                /* the plan's */
  bool descending, matching, eof;
  int64_t low, high;
  arena memory;
  fts_query query;
  fts_result result;
  int64_t at;
  const double *weights;     /* of rank; NULL: 1.0 each */
  int weights_n;
  const char *rank;
  bool ranked;
};
/* The match at hand; NULL: the cursor does not come from a MATCH. */
const fts_match *fts_current(const fts_cursor *c);
status fts_column_value(fts_cursor *c, int column, value *out);
int64_t fts_cursor_rowid(const fts_cursor *c);
/* A row of the content: its columns, the user's ones from record column *first on. */
status fts_each_row(exec *x, const fts_config *f, const table *t, status (*visit)(void *context, int64_t rowid, const value *values), void *context);
/* fts_auxiliary.c */
double fts_bm25(const fts_cursor *c, const fts_match *m, const double *weights, int n);
status fts_rank_parse(arena *memory, slice text, const double **weights, int *n);

#endif
