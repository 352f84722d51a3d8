/* Inside the grammar: the parser's state, and what the actions of parse.y call to build nodes.
 *
 * The loop in parse.y asks lex_next for one token after the other and feeds it to the automaton. While an action
 * runs, `last` is the token being fed (the look-ahead) and `end` the end of the last token shifted: a node that has
 * just been built ends there. An error stops the loop after the token; `late` errors are those that SQLite finds
 * only after the whole statement has parsed, they are reported when it has.
 * P1: an action never fails; it records the error and returns a node or NULL, and every builder accepts NULL.
 */
#ifndef HDB_GRAMMAR_PARSER_H
#define HDB_GRAMMAR_PARSER_H

#include "grammar/ast.h"

typedef struct token {
  const uint8_t *p;
  uint32_t n;
} token;

/* What lex_next returns beside the codes of parse.h. */
enum { LEX_SPACE = 1000, LEX_ILLEGAL = 1001 };

typedef struct parser {
  const parse_options *options;
  arena *memory;
  slice text;
  error *err;
  status rc;
  bool done;             /* a whole statement has been built */
  bool in_trigger;
  uint8_t explain;
  int last_code;         /* of the token before */
  token last;            /* the token being fed */
  const uint8_t *end;    /* behind the last token shifted */
  const uint8_t *first;  /* of the statement's first token, NULL before */
  statement *statement;
  expr *lone;            /* grammar_parse_expr's result */
  /* parameters: names[i] is parameter i + 1 */
  int parameters, names_n, names_capacity;
  const char **names;
  int named_n, named_capacity, *named; /* the parameters that have names */
  /* an error found in a statement that parses */
  char *late;
  int late_offset;
  bool late_when_run;    /* told only by a statement that would run the expression, not by one that stores it */
  /* the statement under construction */
  expr_list *returning;
  create_table_statement *create;
  column_definition *column; /* the column whose constraints come */
  constraint **constraint_tail, **table_tail;
  foreign_key_clause *foreign_key;
  statement *trigger;    /* CREATE TRIGGER around the step under construction */
  token constraint_name;
  token argument;        /* virtual table argument being collected */
} parser;

/* ---- lex.c ---- */
/* The raw token at text[at]: its code, or LEX_SPACE, LEX_ILLEGAL; *length its bytes (0 only at the end). */
int lex_raw(slice text, size_t at, uint8_t dialect, size_t *length);
/* The next token the parser sees at or after *at (spaces skipped, look-ahead words decided); *at moves behind it.
 * 0 at the end of the text. */
int lex_next(slice text, size_t *at, int before, uint8_t dialect, token *out);
/* The code of a word, TK_ID when it is no keyword. */
int lex_keyword(const uint8_t *p, size_t n);
bool lex_identifier_byte(uint8_t c);
/* Does the keyword serve as a name where a name stands? (in parse.y, from %fallback) */
bool lex_falls_back(int code);

/* ---- build.c ---- */
void parse_fail(parser *p, const uint8_t *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void parse_fail_late(parser *p, const uint8_t *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void parse_syntax_error(parser *p, token t);

const char *token_name(parser *p, token t); /* without its quotes */
bool token_is(token t, const char *word);   /* ASCII, without case */
slice trimmed(const uint8_t *from, const uint8_t *to);
static inline token token_to(token from, const uint8_t *end) { return (token){from.p, (uint32_t)(end - from.p)}; }
static inline int32_t offset_of(const parser *p, const uint8_t *at) { return at ? (int32_t)(at - p->text.p) : -1; }

expr *build_leaf(parser *p, enum expr_op op, token t);
expr *build_name(parser *p, token t);
expr *build_dot(parser *p, token schema, token table, token name);
expr *build_literal(parser *p, int code, token t);
expr *build_parameter(parser *p, token t);
expr *build_unary(parser *p, enum expr_op op, token first, expr *operand); /* prefix */
expr *build_postfix(parser *p, enum expr_op op, expr *operand);
expr *build_binary(parser *p, enum expr_op op, expr *left, expr *right);
expr *build_power(parser *p, expr *left, expr *right);
expr *build_named_operator(parser *p, token name, expr *left, expr *right);
expr *build_and(parser *p, expr *left, expr *right);
expr *build_is(parser *p, bool negated, expr *left, expr *right);
expr *build_like(parser *p, token operator_, bool negated, expr *left, expr *right, expr *escape);
expr *build_between(parser *p, bool negated, expr *left, expr *low, expr *high);
expr *build_in(parser *p, bool negated, expr *left, expr_list *list, select *query, source_list *table);
expr *build_cast(parser *p, token first, expr *operand, token type);
expr *build_cast_suffix(parser *p, expr *operand, token suffix);
expr *build_collate(parser *p, expr *operand, token name);
expr *build_function(parser *p, token name, bool distinct, expr_list *list, bool star);
expr *build_row(parser *p, token first, expr_list *list, expr *last);
expr *build_query(parser *p, enum expr_op op, token first, select *query);
expr *build_case(parser *p, token first, expr *operand, expr_list *list, expr *otherwise);
expr *build_parentheses(parser *p, token first, expr *e);
expr *build_window_call(parser *p, expr *call, expr *filter, window *over);
expr *build_raise(parser *p, token first, enum conflict action, token message);

expr_list *build_list(parser *p, expr_list *list, expr *e);
struct expr_item *last_item(expr_list *list);
expr_list *build_order(parser *p, expr_list *list); /* of ORDER BY: the postgres dialect sorts NULL last */
expr_list *build_sort_term(parser *p, expr_list *list, expr *e, bool descending, int nulls);
expr_list *build_result_column(parser *p, expr_list *list, expr *e, const uint8_t *from, const uint8_t *to, token as);
name_list *build_names(parser *p, name_list *list, token t);
void check_list_length(parser *p, const expr_list *list, const char *what);
void reject_nulls_order(parser *p, const expr_list *list);

/* ---- build_query.c ---- */
struct on_using {
  expr *on;
  name_list *names;
};
struct table_time {
  uint8_t kind;
  expr *from, *to;
};
struct join_prefix {
  source_list *list;
  uint8_t join;
};
struct index_hint {
  token by;   /* p NULL: none */
  bool not_indexed;
};
struct limit_clause {
  expr *limit, *offset;
};
struct frame_side {
  uint8_t kind;
  expr *value;
};
struct filter_over {
  expr *filter;
  window *over;
};
uint8_t build_join_kind(parser *p, token a, token b, token c);
source *build_source(parser *p, struct join_prefix *prefix, token start, token as, struct on_using on);
source_list *build_table(parser *p, struct join_prefix prefix, token schema, token name, token as,
                         struct index_hint hint, struct table_time time, struct on_using on);
source_list *build_call_source(parser *p, struct join_prefix prefix, token schema, token name, expr_list *arguments,
                               token as, struct on_using on);
source_list *build_query_source(parser *p, struct join_prefix prefix, token first, select *query, token as,
                                struct on_using on);
source_list *build_nested_source(parser *p, struct join_prefix prefix, token first, source_list *nested, token as,
                                 struct on_using on);
source_list *build_lone_source(parser *p, token schema, token name, expr_list *arguments, bool is_call);
select *build_select(parser *p, token first, bool distinct, expr_list *columns, source_list *from, expr *where,
                     expr_list *group_by, expr *having, window *windows, expr_list *order_by, struct limit_clause limit);
select *build_values(parser *p, token first, select *values, expr_list *row);
select *build_compound(parser *p, select *prior, enum compound_op op, select *arm);
select *finish_select(parser *p, with *with, select *s);
int32_t select_height(const select *s);
with *build_with(parser *p, with *list, token name, name_list *columns, uint8_t materialized, select *query);
window *build_window(parser *p, token first, token base, expr_list *partition_by, expr_list *order_by, window *frame);
window *build_frame(parser *p, uint8_t kind, struct frame_side start, struct frame_side end, uint8_t exclude);

/* ---- build_statement.c ---- */
struct order_limit {
  expr_list *order_by;
  struct limit_clause limit;
};
struct reference_action {
  bool on_update;
  uint8_t action;   /* 255: a clause without meaning (ON INSERT, MATCH) */
};
statement *build_statement(parser *p, enum statement_kind kind);
void finish_statement(parser *p);
qualified_name build_qualified(parser *p, token a, token b); /* a[.b]: b.p NULL when there is one name */
expr_list *take_returning(parser *p);
void add_returning(parser *p, expr_list *list);
void build_insert(parser *p, with *with, uint8_t conflict, qualified_name table, name_list *columns, select *query,
                  upsert *upserts);
void build_update(parser *p, with *with, uint8_t conflict, qualified_name table, struct index_hint hint, set_list *set,
                  source_list *from, expr *where, struct order_limit order);
void build_delete(parser *p, with *with, qualified_name table, struct index_hint hint, expr *where,
                  struct order_limit order);
set_list *build_set(parser *p, set_list *list, name_list *names, bool is_row, expr *value);
upsert *build_upsert(parser *p, expr_list *target, expr *target_where, bool nothing, set_list *set, expr *where,
                     upsert *next);
void begin_create_table(parser *p, bool temp, bool if_not_exists, token a, token b);
void end_create_table(parser *p, const uint8_t *end, uint8_t options, select *query);
uint8_t table_option(parser *p, token without, token name); /* bit 0 WITHOUT ROWID, bit 1 STRICT */
void begin_column(parser *p, token name, token type);
void end_column(parser *p);
constraint *add_constraint(parser *p, bool of_table, enum constraint_kind kind);
void add_generated(parser *p, token open, expr *value, token close, token kind);
foreign_key_clause *build_foreign_key(parser *p, token parent, name_list *parent_columns);
void build_create_index(parser *p, bool unique, bool if_not_exists, token a, token b, token table, expr_list *columns,
                        expr *where, token method, expr_list *options);
void build_create_view(parser *p, bool temp, bool if_not_exists, token a, token b, name_list *columns, select *query);
/* NULL columns etc. are filled in by the actions */
create_trigger_statement *begin_trigger(parser *p, bool temp, bool if_not_exists, token a, token b);
void add_trigger_step(parser *p, statement *step);
void end_trigger(parser *p, const uint8_t *end);
void begin_virtual_table(parser *p, bool if_not_exists, token a, token b, token module);
void end_virtual_argument(parser *p);
void end_virtual_table(parser *p, const uint8_t *end);
void build_drop(parser *p, enum statement_kind kind, bool if_exists, qualified_name name);
alter_statement *build_alter(parser *p, enum statement_kind kind, qualified_name table);
void build_pragma(parser *p, token a, token b, expr *value, bool parenthesised, bool negative);
void build_named(parser *p, enum statement_kind kind, token name);
branch_statement *build_branch(parser *p, enum statement_kind kind, token name);

#endif
