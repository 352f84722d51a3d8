/* The tree that the grammar builds: text to tree, nothing else.
 *
 * Every node lies in the arena of its statement and dies with it. The parser sets what is written in the text;
 * fields under "resolver" are zero until sql/resolve fills them. Identifiers are unquoted and NUL-terminated
 * (`text`), their case kept. `offset` is the byte offset of the node's first token in the SQL text (for errors),
 * `span` the verbatim source text where a name must be the source (result columns, CHECK, DEFAULT, index
 * expressions). G1: a tree's depth is bounded by the parser (expression depth limit 1000, as SQLite's), so
 * recursion over it is safe. G2: the text that a tree borrows (spans) must outlive it.
 */
#ifndef HDB_GRAMMAR_AST_H
#define HDB_GRAMMAR_AST_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

/* The C library declares a function select(); here a select is a tree. The declaration comes first, then the name
 * is ours in every file that includes this header. */
#include <sys/select.h>
#define select ast_select

typedef struct expr expr;
typedef struct expr_list expr_list;
typedef struct select select;
typedef struct window window;
typedef struct with with;
typedef struct source_list source_list;

/* conflict clauses, SQLite's OE_ */
enum conflict { CONFLICT_NONE, CONFLICT_ROLLBACK, CONFLICT_ABORT, CONFLICT_FAIL, CONFLICT_IGNORE, CONFLICT_REPLACE };

enum expr_op {
  EX_NULL, EX_INT, EX_REAL, EX_TEXT, EX_BLOB,  /* literals: i, r, text/text_n */
  EX_PARAM,       /* text = as written ("?", "?12", ":a", "@a", "$a::b(c)"); i = index from 1, given by the parser */
  EX_ID,          /* identifier not yet resolved: text; quoted tells "x" (may be a string, DQS) */
  EX_DOT,         /* a.b or a.b.c: schema, table, text */
  EX_STAR,        /* * in a result list or count(*); table when "t.*" */
  EX_COLUMN,      /* resolver: slot, column (-1: row id) */
  EX_AGG_COLUMN,  /* planner: value number `column` of aggregation `slot` */
  EX_REGISTER,    /* planner: an already computed value */
  /* unary: left */
  EX_NEG, EX_PLUS, EX_BITNOT, EX_NOT, EX_ISNULL, EX_NOTNULL,
  EX_IS_TRUE, EX_IS_FALSE, EX_IS_NOT_TRUE, EX_IS_NOT_FALSE, /* resolver makes them of IS + TRUE/FALSE identifiers */
  EX_COLLATE,     /* left, text = collation */
  EX_CAST,        /* left, text = type name */
  EX_TO_VALUE,    /* reserved: parenthesised, removed by the parser where it changes nothing */
  /* binary: left, right */
  EX_ADD, EX_SUB, EX_MUL, EX_DIV, EX_MOD, EX_CONCAT, EX_BITAND, EX_BITOR, EX_SHL, EX_SHR,
  EX_EQ, EX_NE, EX_LT, EX_LE, EX_GT, EX_GE, EX_IS, EX_ISNOT, EX_AND, EX_OR,
  EX_ARROW, EX_ARROW2,            /* -> and ->> : become functions in the resolver */
  EX_VEC_L2, EX_VEC_COS, EX_VEC_IP, EX_VEC_L1, /* <-> <=> <#> <+> */
  /* others */
  EX_LIKE, EX_GLOB, EX_REGEXP, EX_MATCH,       /* left op right [ESCAPE list[0]]; negated */
  EX_BETWEEN,     /* left, list[0], list[1]; negated */
  EX_IN,          /* left; list, or select, or source (IN table / table function); negated */
  EX_CASE,        /* left = operand or NULL; list = when, then, when, then ..., [else]: has_else */
  EX_FUNCTION,    /* text, list; distinct, star, filter, order_by, over */
  EX_AGGREGATE,   /* resolver: a function that is an aggregate here (not a window call) */
  EX_WINDOW,      /* resolver: a window function call */
  EX_ROW,         /* (a, b, c): list */
  EX_SUBQUERY,    /* scalar or row subquery: select */
  EX_EXISTS,      /* select */
  EX_RAISE,       /* i = enum conflict; left = message (3.45: a string literal) or NULL for IGNORE */
  EX_OPS
};

enum affinity { AFF_NONE = 0, AFF_BLOB = 'A', AFF_TEXT = 'B', AFF_NUMERIC = 'C', AFF_INTEGER = 'D', AFF_REAL = 'E' };

struct expr {
  uint8_t op;         /* enum expr_op */
  bool quoted;        /* EX_ID, EX_DOT: the last name was "quoted" (string fallback); EX_TEXT: came from DQS */
  bool negated;       /* NOT LIKE, NOT IN, NOT BETWEEN */
  bool distinct;      /* f(DISTINCT x) */
  bool star;          /* f(*) */
  bool has_else;
  bool parenthesised; /* was written in ( ) */
  bool quoted_name;   /* EX_ID, EX_DOT: the last name was written in any of the quotes "x" `x` [x]: never TRUE, FALSE */
  bool row_image;     /* resolver: a column of OLD, NEW or excluded: compares without its affinity */
  bool from_join;     /* resolver: comes from an ON/USING clause; join_slot says of which right table */
  bool outer_on;      /* resolver: that join is an outer join: not to be moved */
  uint8_t affinity;   /* resolver: enum affinity of the result (column or cast), 0 none */
  uint8_t place;      /* resolver, EX_FUNCTION: enum function_place, where 'now' must not be */
  bool plain;         /* planner: stands for a subquery's column, which passes no subtype on */
  int32_t offset;
  int32_t height;     /* of the tree below, 1 for a leaf */
  const char *text;   /* identifier, function, literal, collation, type name, parameter */
  uint32_t text_n;    /* bytes of text (literals may hold NULs) */
  slice span;         /* source text */
  const char *schema, *table; /* EX_DOT, EX_STAR */
  union {
    int64_t i;
    double r;
  };
  expr *left, *right;
  expr_list *list;
  select *select;
  source_list *source; /* IN table or IN f(...) : one item */
  expr *filter;
  expr_list *order_by; /* inside an aggregate's parentheses */
  window *over;
  /* resolver */
  int32_t slot, column;     /* EX_COLUMN, EX_AGG_COLUMN; slot numbers are unique in a statement */
  int32_t join_slot;
  const void *object;       /* struct table of a column, struct function of a call */
  const char *collation;    /* of the result; NULL: none given (BINARY) */
  bool collation_explicit;
  bool correlated;          /* EX_SUBQUERY/EXISTS/IN select: refers to outer slots */
  int32_t subplan;          /* number of the subplan that runs it, from 1 */
  int32_t extra;            /* free for the phase at work */
};

struct expr_item {
  expr *e;
  const char *name;  /* AS name, column name; NULL */
  slice span;        /* source text of the expression: the default name of a result column */
  bool descending;
  uint8_t nulls;     /* 0 default, 1 NULLS FIRST, 2 NULLS LAST */
  int32_t ordinal;   /* resolver: ORDER BY/GROUP BY term that is result column n (from 1), 0 else */
  const void *origin;    /* resolver: result column of the whole query that shows a table's column: struct table */
  int32_t origin_column; /* ... and its number, -1: the row id */
};
struct expr_list {
  int n, capacity;
  struct expr_item *items;
};

typedef struct name_list {
  int n, capacity;
  struct name_item {
    const char *name;
    int32_t offset;
    int32_t column; /* resolver */
    bool quoted;
  } *items;
} name_list;

enum join_kind { JOIN_INNER = 1, JOIN_CROSS = 2, JOIN_NATURAL = 4, JOIN_LEFT = 8, JOIN_RIGHT = 16, JOIN_OUTER = 32 };
/* FULL = LEFT|RIGHT */

enum time_kind { TIME_NONE, TIME_TIMESTAMP, TIME_TRANSACTION, TIME_SCN, TIME_NOW, TIME_VERSIONS };

typedef struct source {
  const char *schema, *name, *alias;
  int32_t offset;
  select *select;        /* ( select ) ; or, resolver: the view's or CTE's */
  source_list *nested;   /* ( a join b ) */
  expr_list *arguments;  /* table-valued function; also f() with n == 0: is_call */
  bool is_call;
  const char *indexed_by; /* INDEXED BY x */
  bool not_indexed;
  uint8_t join;          /* how it is joined to what stands left of it: enum join_kind bits, 0 for the first/comma */
  expr *on;
  name_list *using_names;
  uint8_t time;          /* enum time_kind: AS OF ..., VERSIONS BETWEEN */
  expr *time_from, *time_to;
  /* resolver */
  int32_t slot;
  const void *table;     /* struct table */
  int32_t database;      /* number in the connection's list */
  struct cte *cte;
  int32_t time_at, time_from_at; /* places of AS OF's values in the program (sql/time.h) */
  bool is_versions;      /* VERSIONS BETWEEN */
  bool is_recursive;     /* the reference to the CTE inside its own recursive part */
  bool correlated;       /* its select or arguments refer to slots outside */
  bool lateral;
  uint64_t columns_used; /* bit 63: any column above 62 */
  void *extra;
} source;
struct source_list {
  int n, capacity;
  source *items;
};

enum compound_op { COMPOUND_NONE, COMPOUND_UNION, COMPOUND_UNION_ALL, COMPOUND_INTERSECT, COMPOUND_EXCEPT };

struct window {
  const char *name;      /* WINDOW name AS ( ) */
  const char *base;      /* OVER (base ...) or OVER base */
  bool is_reference;     /* OVER base, without parentheses */
  int32_t offset;
  expr_list *partition_by, *order_by;
  bool has_frame;
  uint8_t frame;         /* enum frame_kind */
  uint8_t start, end;    /* enum frame_bound */
  expr *start_value, *end_value;
  uint8_t exclude;       /* enum frame_exclude */
  window *next;          /* WINDOW clause list */
};
enum frame_kind { FRAME_RANGE, FRAME_ROWS, FRAME_GROUPS };
enum frame_bound { BOUND_UNBOUNDED_PRECEDING, BOUND_PRECEDING, BOUND_CURRENT, BOUND_FOLLOWING, BOUND_UNBOUNDED_FOLLOWING };
enum frame_exclude { EXCLUDE_NONE, EXCLUDE_CURRENT, EXCLUDE_GROUP, EXCLUDE_TIES, EXCLUDE_NO_OTHERS /* written out: nothing, but each frame is computed alone */ };

struct select {
  bool distinct;         /* SELECT DISTINCT (ALL sets nothing) */
  expr_list *columns;
  source_list *from;     /* NULL: none */
  expr *where;
  expr_list *group_by;
  expr *having;
  window *windows;       /* WINDOW clause */
  bool is_values;        /* VALUES (..),(..): rows; columns = first row */
  int values_n;
  expr_list **values;    /* all rows, values[0] == columns */
  /* compound: the tree leans left; the last arm is the head, prior points to the arm before it, and `compound`
   * says how the head is combined with everything before. ORDER BY, LIMIT, WITH belong to the head. */
  uint8_t compound;      /* enum compound_op */
  select *prior;
  expr_list *order_by;
  expr *limit, *offset;
  with *with;
  int32_t text_offset;
  /* resolver */
  bool resolved, is_aggregate, has_window, correlated, is_view;
  bool for_change;       /* finds the rows of an UPDATE or DELETE: the table itself is walked, no covering index */
  bool opened;           /* FROM looked up, * expanded */
  bool is_join;          /* SELECT * made of ( a JOIN b ) AS x: a.c and b.c are seen through it */
  bool is_recursive;     /* an arm that reads the recursive CTE it belongs to */
  int32_t agg_slot;
  int32_t window_id;     /* resolver: what its EX_WINDOW nodes carry as slot, so that a subquery's are told apart */
  void *extra;           /* planner */
};

enum materialized { CTE_ANY, CTE_MATERIALIZED, CTE_NOT_MATERIALIZED };
typedef struct cte {
  const char *name;
  name_list *columns;
  select *select;
  uint8_t materialized;
  bool recursive;        /* resolver: refers to itself */
  int uses;              /* resolver */
  int32_t offset;
  void *extra;
} cte;
struct with {
  bool recursive;
  int n, capacity;
  cte *items;
  with *outer;           /* resolver: the enclosing scope's */
};

/* ---- statements ---- */
typedef struct qualified_name {
  const char *schema, *name;
  int32_t offset;        /* of the name's first token */
  int32_t name_offset;   /* of the name itself */
  const char *alias;
  const char *indexed_by;
  bool not_indexed;
} qualified_name;

enum statement_kind {
  ST_SELECT, ST_INSERT, ST_UPDATE, ST_DELETE,
  ST_CREATE_TABLE, ST_CREATE_INDEX, ST_CREATE_VIEW, ST_CREATE_TRIGGER, ST_CREATE_VIRTUAL_TABLE,
  ST_DROP_TABLE, ST_DROP_INDEX, ST_DROP_VIEW, ST_DROP_TRIGGER,
  ST_ALTER_RENAME_TABLE, ST_ALTER_RENAME_COLUMN, ST_ALTER_ADD_COLUMN, ST_ALTER_DROP_COLUMN,
  ST_BEGIN, ST_COMMIT, ST_ROLLBACK, ST_SAVEPOINT, ST_RELEASE, ST_ROLLBACK_TO,
  ST_PRAGMA, ST_ATTACH, ST_DETACH, ST_ANALYZE, ST_REINDEX, ST_VACUUM,
  /* ours */
  ST_CREATE_BRANCH, ST_DROP_BRANCH, ST_USE_BRANCH, ST_SHOW_BRANCHES, ST_MERGE_BRANCH, ST_ERASE, ST_SET, ST_SHOW
};

typedef struct set_item {      /* SET a = e, or (a, b) = e */
  name_list *columns;
  expr *value;
} set_item;
typedef struct set_list {
  int n, capacity;
  set_item *items;
} set_list;

typedef struct upsert {
  expr_list *target;     /* ON CONFLICT (a, b COLLATE x); NULL: any */
  expr *target_where;
  bool do_nothing;
  set_list *set;
  expr *where;
  struct upsert *next;
  void *extra;           /* resolver: the index it means */
} upsert;

typedef struct insert_statement {
  with *with;
  uint8_t conflict;      /* OR x; REPLACE INTO = CONFLICT_REPLACE */
  qualified_name table;
  name_list *columns;
  select *select;        /* VALUES too */
  bool default_values;
  upsert *upserts;
  expr_list *returning;
} insert_statement;

typedef struct update_statement {
  with *with;
  uint8_t conflict;
  qualified_name table;
  set_list *set;
  source_list *from;
  expr *where;
  expr_list *returning;
  expr_list *order_by;
  expr *limit, *offset;
} update_statement;

typedef struct delete_statement {
  with *with;
  qualified_name table;
  expr *where;
  expr_list *returning;
  expr_list *order_by;
  expr *limit, *offset;
} delete_statement;

enum foreign_action { FK_NO_ACTION, FK_RESTRICT, FK_SET_NULL, FK_SET_DEFAULT, FK_CASCADE };
typedef struct foreign_key_clause {
  const char *constraint_name;
  name_list *columns;    /* child columns; NULL: the column it stands at */
  const char *parent;
  name_list *parent_columns; /* NULL: the parent's primary key */
  uint8_t on_delete, on_update; /* enum foreign_action */
  bool deferrable, initially_deferred;
  const char *match;
} foreign_key_clause;

enum constraint_kind {
  CON_PRIMARY_KEY, CON_UNIQUE, CON_NOT_NULL, CON_NULL, CON_CHECK, CON_DEFAULT, CON_COLLATE, CON_REFERENCES,
  CON_GENERATED, CON_FOREIGN_KEY
};
typedef struct constraint {
  uint8_t kind;          /* enum constraint_kind */
  const char *name;      /* CONSTRAINT name */
  uint8_t conflict;      /* ON CONFLICT x */
  bool descending, autoincrement;   /* PRIMARY KEY of a column */
  bool stored;           /* GENERATED ... STORED */
  expr *value;           /* CHECK, DEFAULT, GENERATED */
  slice span;            /* their source text, without the outer parentheses for CHECK and GENERATED */
  const char *collation;
  expr_list *columns;    /* table-level PRIMARY KEY, UNIQUE: name + collation + order, as expressions */
  foreign_key_clause *foreign_key;
  struct constraint *next;
} constraint;
typedef struct column_definition {
  const char *name;
  const char *type;      /* as written, single spaces between its tokens; "" when none */
  constraint *constraints;
  slice span;            /* the whole definition */
  int32_t offset;
} column_definition;

typedef struct create_table_statement {
  bool temp, if_not_exists, without_rowid, strict;
  qualified_name table;
  int columns_n, columns_capacity;
  column_definition *columns;
  constraint *constraints;
  select *select;        /* CREATE TABLE AS */
  slice span;            /* from the name to the end of the statement: what SQLite stores behind "CREATE TABLE " */
} create_table_statement;

typedef struct create_index_statement {
  bool unique, if_not_exists;
  qualified_name index;  /* schema.index */
  const char *table;
  int32_t table_offset;
  expr_list *columns;
  expr *where;
  slice span;            /* from the index's name to the end */
  const char *method;    /* USING hnsw */
  expr_list *options;    /* WITH (m = 16) : name, e */
  const char **op_classes; /* one an indexed column, NULL where none */
} create_index_statement;

typedef struct create_view_statement {
  bool temp, if_not_exists;
  qualified_name view;
  name_list *columns;
  select *select;
  slice span;
} create_view_statement;

struct statement;
typedef struct create_trigger_statement {
  bool temp, if_not_exists;
  qualified_name trigger;
  qualified_name table;
  uint8_t time;          /* 0 unspecified (BEFORE), 1 BEFORE, 2 AFTER, 3 INSTEAD OF */
  uint8_t event;         /* ST_INSERT, ST_UPDATE, ST_DELETE */
  name_list *update_of;
  bool for_each_row;
  expr *when;
  int steps_n, steps_capacity;
  struct statement **steps; /* ST_SELECT, INSERT, UPDATE, DELETE */
  slice span;
} create_trigger_statement;

typedef struct create_virtual_table_statement {
  bool if_not_exists;
  qualified_name table;
  const char *module;
  name_list *arguments;  /* verbatim texts */
  slice span;
} create_virtual_table_statement;

typedef struct alter_statement {
  qualified_name table;
  const char *column;    /* RENAME COLUMN, DROP COLUMN: the old name */
  int32_t column_offset;
  const char *new_name;
  bool new_name_quoted;
  column_definition *definition; /* ADD COLUMN */
} alter_statement;

typedef struct pragma_statement {
  const char *schema, *name;
  bool has_value, parenthesised;
  bool negative;         /* -5 */
  expr *value;           /* EX_INT, EX_REAL, EX_TEXT, EX_ID (a bare word: text) */
} pragma_statement;

typedef struct branch_statement {
  const char *name, *from; /* MERGE name INTO from */
  bool if_exists;        /* IF [NOT] EXISTS */
  bool from_current;
  uint8_t time;          /* enum time_kind */
  expr *time_value;
  expr_list *options;    /* WITH (name = value, ...) */
} branch_statement;

typedef struct statement {
  uint8_t kind;          /* enum statement_kind */
  uint8_t explain;       /* 0, 1 EXPLAIN, 2 EXPLAIN QUERY PLAN */
  int parameters;        /* highest parameter index */
  int names_n;           /* parameter names: names[i] belongs to index i+1, NULL for a bare ? */
  const char **names;
  slice text;            /* this statement's text, without the ';' */
  union {
    select *select;
    insert_statement *insert;
    update_statement *update;
    delete_statement *delete_;
    create_table_statement *create_table;
    create_index_statement *create_index;
    create_view_statement *create_view;
    create_trigger_statement *create_trigger;
    create_virtual_table_statement *create_virtual_table;
    struct { qualified_name name; bool if_exists; } drop;
    alter_statement *alter;
    struct { uint8_t mode; } begin;  /* 0 deferred, 1 immediate, 2 exclusive, 3 concurrent */
    struct { const char *name; } savepoint; /* SAVEPOINT, RELEASE, ROLLBACK TO */
    pragma_statement *pragma;
    struct { expr *file, *name, *key; } attach; /* DETACH: name */
    qualified_name name;             /* ANALYZE, REINDEX: name NULL when none */
    struct { const char *schema; expr *into; } vacuum;
    branch_statement *branch;
    delete_statement *erase;
  };
} statement;

/* ---- grammar.h: the entry points ---- */
enum dialect { DIALECT_SQLITE, DIALECT_POSTGRES };
typedef struct parse_options {
  uint8_t dialect;
  int max_parameter;      /* HDB_LIMIT_VARIABLE_NUMBER: larger ?N: "variable number must be between ?1 and ?N" */
  int max_expr_depth;     /* HDB_LIMIT_EXPR_DEPTH: "Expression tree is too large (maximum depth N)" */
  int max_columns;        /* HDB_LIMIT_COLUMN */
  int max_compound;       /* HDB_LIMIT_COMPOUND_SELECT: "too many terms in compound SELECT" */
  int max_function_args;
  bool schema_text;       /* parsing sqlite_schema.sql: no limits on parameters in it; they are errors elsewhere */
} parse_options;

/* Parses the first statement of text. *out NULL: only white space, comments, ';'. *tail: bytes consumed, the ';'
 * included. Errors as SQLite's: near "x": syntax error, incomplete input, unrecognized token: "x", ... with offset.
 * The tree lies in `memory` and borrows `text`. */
status grammar_parse(slice text, const parse_options *options, arena *memory, statement **out, size_t *tail, error *err);
/* One expression alone (a DEFAULT, CHECK or index expression from a stored text). */
status grammar_parse_expr(slice text, const parse_options *options, arena *memory, expr **out, error *err);
/* sqlite3_complete's rule. */
bool grammar_complete(const char *sql);
/* Is the word a keyword that must be quoted to be a name? */
bool grammar_is_reserved(const char *word, size_t n);
/* Is it any keyword of SQLite's? (SQLite quotes each of them when it writes a name.) */
bool grammar_is_keyword(const char *word, size_t n);

/* Deep copies into another arena (views, triggers, CTEs used twice). */
expr *ast_copy_expr(arena *memory, const expr *e);
expr_list *ast_copy_list(arena *memory, const expr_list *list);
select *ast_copy_select(arena *memory, const select *s);
/* SELECT, INSERT, UPDATE and DELETE deep (a trigger's steps), other kinds shared. */
struct statement *ast_copy_statement(arena *memory, const struct statement *s);
/* Builders. NULL when out of memory (the arena's failed flag is set). */
expr *ast_expr(arena *memory, enum expr_op op, expr *left, expr *right);
expr_list *ast_list_add(arena *memory, expr_list *list, expr *e);
/* Equal but for offsets and spans; names compare without case; resolved columns by slot and column. */
bool ast_equal(const expr *a, const expr *b);
/* Calls visit for e and all below (not into subqueries unless into_selects); stops when it returns false. */
typedef bool (*ast_visitor)(void *context, expr *e);
bool ast_walk(expr *e, bool into_selects, ast_visitor visit, void *context);
/* The same over a whole query, its arms, FROM and WITH, subqueries included. */
bool ast_walk_select(select *s, ast_visitor visit, void *context);

/* Every name token of a statement with its place, for ALTER ... RENAME: see rename.c in sql. */
enum token_kind { TOK_WORD, TOK_QUOTED, TOK_STRING, TOK_NUMBER, TOK_PARAM, TOK_BLOB_LITERAL, TOK_PUNCTUATION, TOK_SPACE, TOK_END, TOK_BAD };
/* The next token at text[at]; returns its length, sets kind. */
size_t grammar_token(slice text, size_t at, uint8_t dialect, enum token_kind *kind);

#endif
