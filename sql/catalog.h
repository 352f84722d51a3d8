/* The catalog: what a schema's texts say, parsed.
 *
 * TREE_SCHEMA of each database holds sqlite_schema rows (type, name, tbl_name, rootpage, sql); rootpage is the
 * object's tree id (0 for views, triggers, virtual tables). A `schema` is parsed from them for one schema_stamp,
 * is read-only then, and counted: statements keep theirs alive. DDL writes rows and makes the stamp change.
 *
 * C1  Column order is declaration order; the record holds every column but virtual generated ones, in that order;
 *     the row id alias is stored as NULL. `stored` maps a column to its place in the record, -1: virtual.
 * C2  A rowid table's tree: key = key_put_rowid, value = record. WITHOUT ROWID: key = key columns of the primary
 *     key, value = record of all stored columns.
 * C3  An index's tree: key = its columns (key.h) + the row's key (8 bytes row id, or the WITHOUT ROWID table's
 *     primary key columns not yet in it, encoded by key.h); value = empty when every key column decodes to the
 *     very value, else a record of the index's columns. Rows with NULL in a UNIQUE key may repeat.
 */
#ifndef HDB_SQL_CATALOG_H
#define HDB_SQL_CATALOG_H

#include <strings.h>

#include "mvcc/mvcc.h"
#include "sql/hdb.h"
#include "sql/value.h"

typedef struct table table;
typedef struct index_ index_;

typedef struct column {
  const char *name;
  const char *type;           /* declared, "" when none */
  uint8_t affinity;
  uint8_t not_null;           /* enum conflict: 0 nullable, else the action (ABORT by default) */
  bool primary_key;           /* part of the primary key */
  bool hidden;                /* virtual tables */
  const char *enum_name;      /* of an enumerated type (pg_enum.h), or an array of it; NULL: not */
  bool enum_array;
  uint32_t pg_type;           /* of a table made in the postgres dialect (pg.h): values are converted; 0: not */
  int32_t pg_modifier;
  uint8_t generated;          /* 0, 1 virtual, 2 stored */
  int vector_dimensions;      /* VECTOR(n): n; else 0 */
  uint8_t strict_type;        /* STRICT: 0 ANY, else affinity; 'T' text ... see catalog_build.c */
  int stored;                 /* C1 */
  const char *collation;      /* NULL: BINARY */
  expr *default_value;        /* NULL: none; unresolved tree */
  slice default_text;         /* source text, for pragma table_info */
  expr *generation;           /* generated columns */
  int primary_key_position;   /* from 1, 0: not in it */
} column;

typedef struct index_column {
  int column;                 /* table column; -1 row id; -2 expression */
  expr *e;                    /* the expression, resolved against slot 0 */
  const char *collation;      /* never NULL */
  bool descending;
  bool key;                   /* false: the appended row key columns (WITHOUT ROWID) */
} index_column;

struct index_ {
  const char *name;
  table *owner;
  uint32_t tree;
  uint8_t origin;             /* 'c' CREATE INDEX, 'u' UNIQUE, 'p' PRIMARY KEY */
  bool unique;
  uint8_t on_conflict;        /* of the constraint */
  int columns_n;              /* with the appended ones */
  int key_columns_n;          /* those of the definition */
  index_column *columns;
  expr *where;                /* partial */
  const char *sql;            /* NULL for automatic ones */
  bool is_primary;            /* the WITHOUT ROWID table's own tree seen as an index: tree == owner->tree */
  int64_t *statistics;        /* sqlite_stat1: rows, then rows per distinct prefix; NULL: none */
  int statistics_n;
  const char *constraint;     /* the constraint's name as given; NULL: none */
  bool unresolved;            /* its expressions did not resolve (a missing function): resolving again says why */
  const create_index_statement *create; /* NULL for automatic ones: method, options, ... */
  index_ *next;
};

typedef struct check {
  const char *name;
  expr *e;
  slice text;
  uint8_t on_conflict;
} check;

typedef struct foreign_key {
  table *child;
  int id;                     /* as pragma foreign_key_list numbers them */
  int n;
  int *child_columns;
  const char *parent;
  const char **parent_columns; /* NULL entries: the primary key */
  uint8_t on_delete, on_update;
  bool deferred, deferrable;
  const char *match, *name;   /* name: the constraint's as given, NULL none */
  struct foreign_key *next;        /* of the child table */
  struct foreign_key *next_parent; /* of all that refer to the same parent name */
} foreign_key;

typedef struct trigger {
  const char *name, *table_name;
  int database;               /* where the trigger lives (TEMP triggers on main tables) */
  const char *table_schema;   /* NULL: any / its own */
  const char *sql;
  create_trigger_statement *tree;
  struct trigger *next;       /* of the table, in SQLite's firing order */
} trigger;

enum table_kind { TABLE_ORDINARY, TABLE_VIEW, TABLE_VIRTUAL, TABLE_SCHEMA };

struct table {
  const char *name;
  uint8_t kind;
  uint32_t tree;
  int columns_n, stored_n;
  column *columns;
  int rowid_column;           /* the INTEGER PRIMARY KEY's number, -1 none */
  bool without_rowid, strict, autoincrement, has_primary_key;
  uint8_t primary_key_conflict;
  const char *primary_key_name; /* the constraint's as given; NULL: none */
  bool has_generated;
  index_ *indexes;            /* primary of WITHOUT ROWID first, then SQLite's order: newest first, REPLACE ones last */
  index_ *primary;            /* WITHOUT ROWID: the tree itself; else the index of PRIMARY KEY or NULL */
  check *checks;
  int checks_n;
  foreign_key *foreign_keys;
  trigger *triggers;
  select *view;               /* parsed; copy before resolving */
  name_list *view_columns;
  const char *sql;
  struct schema *schema;
  const struct virtual_module *module; /* TABLE_VIRTUAL */
  void *virtual_data;
  const create_virtual_table_statement *declaration; /* of a stored virtual table */
  const char *declaration_error; /* why it cannot be used */
  int64_t statistic_rows;     /* sqlite_stat1, -1 none */
  void *extra;                /* compiled helpers of write.c (defaults, checks), filled once under the schema's lock */
  const struct pg_enum *enumeration; /* it is a type (pg_enum.h); NULL: it is not */
  const value *missing;       /* slot.c: defaults for short records, NULL: not made (table_missing_values) */
  table *next_in_hash;
};

typedef struct schema schema;
struct schema {
  schema_stamp stamp;
  int references;
  arena memory;
  int database;
  table **tables;             /* hash by lower-case name */
  uint32_t buckets;
  int tables_n;
  table **in_order;           /* as sqlite_schema lists them */
  table *own;                 /* sqlite_schema itself */
  index_ **indexes;           /* all, in order */
  int indexes_n;
  trigger **triggers;
  int triggers_n;
  foreign_key *foreign_keys;  /* by next_parent, all of them */
};

/* CREATE INDEX ... USING hnsw: known by name, but not among its table's indexes (plan_vector.c looks for it). */
static inline bool index_is_vector(const index_ *i) { return i->create && i->create->method && strcasecmp(i->create->method, "hnsw") == 0; }

/* A schema for the database's current view; loads it when the stamp moved. */
status catalog_schema(hdb *db, int database, schema **out);
/* Lookup in SQLite's order: temp, main, attached; schema_name NULL: any. NULL when there is none (no error set).
 * sqlite_schema/sqlite_master and the temp ones are tables too. */
table *catalog_table(hdb *db, const char *schema_name, const char *name, int *database);
index_ *catalog_index(hdb *db, const char *schema_name, const char *name, int *database);
trigger *catalog_trigger(hdb *db, const char *schema_name, const char *name, int *database);
/* All triggers on a table in SQLite's firing order, those of TEMP first; the array lies in `memory`. */
status catalog_triggers(hdb *db, const table *t, int database, arena *memory, const trigger ***out, int *n);
/* Lookup in one schema. */
table *schema_table(const schema *s, const char *name);
index_ *schema_index(const schema *s, const char *name);
trigger *schema_trigger(const schema *s, const char *name);
/* Number of a database by its name ("main", "temp", attached), -1 none. */
int catalog_database(hdb *db, const char *name);
int table_column(const table *t, const char *name); /* -1 none; not the row id names */
bool is_rowid_name(const char *name);               /* rowid, oid, _rowid_ */
const char *table_rowid_name(const table *t);       /* the first of them that no column hides, NULL: all are hidden */
/* A table that is there without being created (json_each, pragma_table_info, ...), NULL: none. */
table *catalog_eponymous(hdb *db, const char *name);
void schema_release(schema *s);

#endif
