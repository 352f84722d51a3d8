/* The rewriter: what translate.c and translate_ddl.c share. */
#ifndef HDB_SERVER_REWRITE_H
#define HDB_SERVER_REWRITE_H

#include "server/translate.h"

typedef struct rewriter {
  slice sql;
  const pg_token *t;   /* the statement's tokens; t[n] is PT_END */
  int n;
  arena *memory;
  error *err;
  translation *out;
  buf text;            /* of the text being written */
  size_t last_operator; /* where in text the last operator begins */
  const char *operator_text;
  int texts_capacity;
  bool has_zones;      /* AT TIME ZONE somewhere */
  bool is_query;       /* the statement is a SELECT: its columns are the client's */
} rewriter;

status rewrite_unsupported(rewriter *r, int at, const char *what);
status rewrite_syntax_error(rewriter *r, int at);
bool rewrite_is(const rewriter *r, int at, const char *word);
bool rewrite_is_name(const rewriter *r, int at); /* a word that is not reserved, or a quoted one */
bool rewrite_punct(const rewriter *r, int at, char c);
int rewrite_close(const rewriter *r, int open, int end); /* the index of the bracket that closes the one at open; end: none */
void rewrite_put(rewriter *r, int from, const char *text); /* text that stands for token `from` */
void rewrite_token(rewriter *r, int at);
void rewrite_name(rewriter *r, int at, const char *name);  /* an identifier, quoted where needed */
void rewrite_string(rewriter *r, int at, const char *text, size_t n);
status rewrite_range(rewriter *r, int from, int to);
/* A type at token `at`: its canonical spelling for the engine in *type; *next behind it. */
status rewrite_type(rewriter *r, int at, int end, const char **type, int *next);
status rewrite_finish(rewriter *r);                        /* the text so far is one of the statement's texts */
/* [schema .] name at *at: written to *name; the schema is "public" or left out, else *schema says main, temp, ... */
status rewrite_qualified(rewriter *r, int *at, const char **schema, const char **name);

/* The query at from..to, tokens cut_from..cut_to left out, fills a new table. */
status rewrite_query_into(rewriter *r, int from, int to, int cut_from, int cut_to, const char *schema, const char *name, bool temp);

/* translate_distinct.c: at SELECT DISTINCT ON */
status rewrite_distinct_on(rewriter *r, int *at, int end);

/* translate_srf.c: at SELECT with unnest and its like in its list */
bool rewrite_has_rows_function(const rewriter *r, int at, int end);
status rewrite_rows_function(rewriter *r, int *at, int end);
status rewrite_table_function(rewriter *r, int *at, int end); /* in FROM */

/* translate_ddl.c */
status rewrite_create(rewriter *r);
status rewrite_alter(rewriter *r);
status rewrite_drop(rewriter *r);
status rewrite_truncate(rewriter *r);

#endif
