/* Scripts of DDL, ALTER, transactions and PRAGMAs run on libsqlite3 and on us: the same rows, the same errors. */
#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/base/bytes.h"
#include "sql/hdb.h"

static const char *const scripts[] = {
    "create table t(a, unique(x))",

    "create table t(a); create index i on t(x)",

    "create table t(a, unique(a+1))",

    "create index i on nosuch(a)",

    "create temp table t(a);create index main.i on t(a);create index i on t(a); select * from sqlite_temp_mast"
    "er",

    "create table t(a); create table x(b); create index x on t(a); create index i on t(a);create index i on t("
    "a); create index if not exists i on t(a)",

    "create view v as select 1; create index i on v(a); create index i on sqlite_master(name)",

    "create table t(a, primary key(x))",

    "create table t(a); create index t.i on t(a)",

    "create table t(a primary key(1))",

    "create table t(a, b as (b)); create table t2(a, b as (c), c as (b)); create table t(a check(x>1)); create"
    " table t3(a default (x)); create table t4(a default (?)); create view v as select ?; create table t5(a) w"
    "ithout rowid; drop view t",

    "create view t as select 1; drop table t; drop table x; drop index x; drop view x; drop trigger x; drop ta"
    "ble main.x; drop index if exists x; create table sqlite_x(a); drop view main.t; drop view temp.t; drop vi"
    "ew aux.t",

    "create table t(a unique); drop index sqlite_autoindex_t_1; drop table sqlite_master; drop table sqlite_se"
    "quence",

    "create table t(a integer primary key autoincrement); drop table sqlite_sequence; select name, sql from sq"
    "lite_master",

    "create table t(a); create trigger r after insert on t begin select x; end; create trigger r after insert "
    "on t begin select x; end; create trigger r after insert on nosuch begin select 1; end; create trigger r2 "
    "instead of insert on t begin select 1; end; select * from sqlite_master where type='trigger'",

    "create view t as select 1;create trigger r after insert on t begin select 1; end; create trigger r before"
    " insert on t begin select 1; end;create trigger r instead of insert on t begin select 1; end;  create tri"
    "gger r3 after insert on sqlite_master begin select 1; end",

    "create table aux.t(a); create temp table main.t(a); create temp view main.t as select 1; create table t(a"
    " int primary key autoincrement); create table t(a as (1)); create table t(a, b as (a) default 4); create "
    "table t(a, b default 4 as (a)); create table t(a, a); create table t(a collate foo); create table t(a foo"
    ") strict; create table t(a) strict;create table t(a references b(c,d));create table t(a, foreign key(x) r"
    "eferences b); create table t(a unique on conflict ignore unique on conflict abort)",

    "create table t(a check(?)); create table t(a check((select 1))); create table t(a, b as (random())); crea"
    "te table t(a check(count(*)));create table t(a); create index i on t(a) where b; create index i on t(rand"
    "om());create index i on t((select 1));create index i on t(a nulls first);",

    "create table t(a, primary key(a nulls last));create table main.t(a); create view v as select * from temp."
    "x; create table t2(a as (b+1) stored primary key, b); create table t3(a, b primary key, primary key(a))",

    "create table t(a,b, primary key(a,b), unique(b,a), unique(a,b)); pragma index_list(t); create table u(a u"
    "nique, b unique, unique(a), primary key(b)); pragma index_list(u); create table w(a unique, b, c, primary"
    " key(b,a,b), unique(c)) without rowid; pragma index_list(w); pragma index_xinfo(w); pragma index_xinfo(sq"
    "lite_autoindex_w_2); select type,name,tbl_name,sql from sqlite_master",

    "create table t(a integer primary key desc, b); pragma index_list(t); create table u(a integer, primary ke"
    "y(a desc)); pragma index_list(u); create table w(a int primary key); pragma index_list(w); create table x"
    "(a INTEGER primary key); pragma index_list(x); create table y(a integer primary key, b unique) without ro"
    "wid; pragma index_list(y); pragma table_info(y)",

    "create table t(a NOT NULL, b CHAR(10) default -1, c DOUBLE PRECISION default +3.5, d default (1+ 2), e de"
    "fault 'it''s', f default x'00ff', g default current_timestamp, h default true, i default null, j default "
    "abc, k varchar ( 10 , 2 ) collate nocase); pragma table_info(t); pragma table_xinfo(t)",

    "pragma user_version; pragma user_version=5; pragma user_version; begin; pragma user_version=9; rollback; "
    "pragma user_version; pragma application_id=77; pragma application_id; pragma schema_version; create table"
    " t(a); pragma schema_version",

    "begin; begin; commit; commit; rollback; savepoint a; savepoint b; release a; release b; savepoint a; roll"
    "back to a; rollback to b; release a; commit; begin immediate; end; begin exclusive transaction; rollback "
    "transaction; begin deferred; savepoint x; create table t(a); rollback to x; select name from sqlite_maste"
    "r; create table u(a); release x; commit; select name from sqlite_master",

    "attach ':memory:' as aux; attach ':memory:' as aux; attach ':memory:' as main; create table aux.t(a); sel"
    "ect name from aux.sqlite_master; select name from sqlite_master; pragma database_list; detach aux; detach"
    " aux; detach main; detach temp; attach ':memory:' as a2; begin; create table a2.x(y); rollback; select * "
    "from a2.sqlite_master",

    "create table p(a primary key, b); create table c(x references p(a) on delete cascade on update set null, "
    "y, z, foreign key(y,z) references p(a,b) deferrable initially deferred, foreign key(z) references nosuch)"
    "; pragma foreign_key_list(c)",

    "create table t(a); create index i on t(a); drop table t; select * from sqlite_master; create table t(b); "
    "drop index i; create view v as select * from t; create trigger r instead of insert on v begin select 1; e"
    "nd; drop view v; select name from sqlite_master",

    "create table t(a,b); alter table t rename to sqlite_y; alter table t add b primary key; alter table t add"
    " c unique; alter table t add d not null; alter table t add e default (1+2); alter table t add f default c"
    "urrent_timestamp; select sql from sqlite_master",

    "create table t(a); alter table t add b as (a) stored;  alter table t add a; alter table t drop x; alter t"
    "able t rename x to y; alter table t drop a; alter table t drop b; alter table t rename a to b; alter tabl"
    "e sqlite_master add x; alter table nosuch add x; alter table main.nosuch rename to y; alter table t renam"
    "e to t; alter table t rename a to a",

    "create view t as select 1 a;alter table t add b;alter table t rename to x;alter table t rename a to b;alt"
    "er table t drop a",

    "create table t(a,b primary key);alter table t drop b; create table t2(a,b unique);alter table t2 drop b;c"
    "reate table t3(a,b check(b>1));alter table t3 drop b; create table t4(a,b, check(b>1));alter table t4 dro"
    "p b; select sql from sqlite_master",

    "create table t(a,b);create index i on t(b);alter table t drop b",

    "create table t(a, b ,c);alter table t drop b; select sql from sqlite_master; alter table t drop c; select"
    " sql from sqlite_master",

    "create table t(a, b int default 5 , constraint x check(a>1), unique(a));alter table t drop b; select sql "
    "from sqlite_master; alter table t add column \"c d\" text default 'x' collate nocase; select sql from sql"
    "ite_master; pragma table_info(t)",

    "create table p(a primary key,b);create table c(x references p(a), y, foreign key(y) references p(a));alte"
    "r table p rename to q;alter table q rename a to k;select sql from sqlite_master",

    "create table t(a,b);create table u(a);alter table t rename to u; create index ii on t(a); alter table t r"
    "ename to ii",

    "create table t(a, b default 'x', check(a>b));alter table t rename column a to z;alter table t add column "
    "c int default 4 check(c>0); select sql from sqlite_master",

    "create table t(a integer primary key autoincrement, b unique, c, unique(c,b)); create index i on t(c); al"
    "ter table t rename to \"new t\"; select type,name,tbl_name,sql from sqlite_master",

    "create table t(a unique, b); insert into t values(1,1),(2,2); insert into t values(3,3),(1,5); select * f"
    "rom t; insert or ignore into t values(1,9),(4,4); select * from t; insert or replace into t values(1,10);"
    " select * from t; begin; insert or fail into t values(7,7),(1,1),(8,8); select * from t; rollback; select"
    " * from t; begin; insert into t values(20,20); insert or rollback into t values(1,1); commit; select * fr"
    "om t",

    "create table t(a); insert into t values(1),(2),(3); begin; delete from t; savepoint s; insert into t valu"
    "es(9); rollback to s; select * from t; release s; rollback; select * from t",

    "create table t(a integer primary key autoincrement, b unique, c, unique(c,b)); insert into t(b,c) values("
    "1,2); create index i on t(c); alter table t rename to \"new t\"; select type,name,tbl_name,sql from sqlit"
    "e_master; select * from sqlite_sequence; select * from \"new t\"; drop table \"new t\"; select * from sql"
    "ite_sequence; select name from sqlite_master",

    "create table t(a,b);create index i on t(a);create view v as select t.a x, \"a\", [t].\"b\" from t where t"
    ".a>1;create trigger r after insert on t begin update t set a=new.a where t.a=1; insert into t(a,b) values"
    "(1,2); end;alter table t rename to \"U v\";select sql from sqlite_master",

    "create table t(a,b);create index i on t(a) where a>b;create view v as select t.a x, \"a\", [t].\"b\" from"
    " t where t.a>1;create trigger r after update of a on t when new.a>old.a begin update t set a=new.a where "
    "t.a=1; insert into t(a,b) values(1,2); select a from t; end;alter table t rename a to \"c d\";select sql "
    "from sqlite_master",

    "create table t(a,b);create view v as select b from t;alter table t drop b; select sql from sqlite_master;"
    " alter table t rename b to zz; select sql from sqlite_master; select * from v",

    "create table t(a,b);create view v as select x from t;alter table t rename a to c;",

    "create table t(a,b,c); insert into t values(1,2,3),(4,5,6); create index i on t(c); alter table t drop co"
    "lumn b; select * from t; select * from t where c=6; pragma integrity_check; alter table t add column d de"
    "fault 7; select * from t; insert into t(a,c) values(9,9); select * from t; alter table t drop column a; s"
    "elect * from t; pragma integrity_check",

    "create table t(a);insert into t values(1);alter table t add b not null; alter table t add c not null defa"
    "ult 5; alter table t add d default (1+2); alter table t add e default current_timestamp; alter table t ad"
    "d f check(f>1) default 0; alter table t add g check(g is null or g>1); select * from t; pragma foreign_ke"
    "ys=on; alter table t add h references t default 4; select sql from sqlite_master",

    "create table t(a,b,c); create index i on t(a,b); create table u(x); create table e(x unique); with recurs"
    "ive n(i) as (select 1 union all select i+1 from n where i<11) insert into t select max(i-1,1),i,i from n;"
    "insert into u values(1); analyze; select * from sqlite_stat1; create table w(a,b,primary key(a,b)) withou"
    "t rowid; insert into w values(1,2),(1,3); create index wi on w(b) where b>2; analyze w; select * from sql"
    "ite_stat1; analyze nosuch; reindex; reindex t; reindex nosuch; reindex nocase; pragma integrity_check; dr"
    "op table t; select * from sqlite_stat1",

    "create table p(a primary key); create table c(x references p); insert into c values(1),(null),(2); insert"
    " into p values(2); pragma foreign_key_check; pragma foreign_key_check(c); pragma foreign_key_check(nosuch"
    "); create table d(y references nosuch(z)); insert into d values(5); pragma foreign_key_check",

    "pragma foreign_keys=on; create table p(a primary key); create table c(x references p); insert into p valu"
    "es(1); insert into c values(1); insert into c values(2); drop table p; delete from c; drop table p; selec"
    "t name from sqlite_master",

    "pragma foreign_keys=on; create table p(a primary key); create table c(x references p deferrable initially"
    " deferred); begin; insert into c values(1); commit; insert into p values(1); commit; select * from c; ins"
    "ert into c values(5); begin; savepoint s; insert into c values(7); rollback to s; release s; commit",

    "create table t(a check(a>0), b not null); insert into t values(0,1); insert into t values(1,null); insert"
    " into t values(1,2); pragma table_info(t); select * from pragma_table_info('t') where pk=0; select name f"
    "rom pragma_index_list('t'); select * from pragma_user_version; create view v as select a, b+1 q from t; p"
    "ragma table_info(v); select m.name, p.name from sqlite_master m, pragma_table_info(m.name) p",

    "create temp table t(a); insert into t values(1); create table main.t(a); select * from t; select * from m"
    "ain.t; create temp trigger r after insert on main.t begin insert into t values(new.a); end; insert into m"
    "ain.t values(5); select * from t; drop table main.t; select name from sqlite_temp_master; drop table t; s"
    "elect * from sqlite_temp_master",

    "create view v(a,b) as select 1,2; select * from v; create view v2(a) as select 1,2; select * from v2; cre"
    "ate view v3 as select * from nosuch; select * from v3; drop view v3; create view v4 as select a from v gr"
    "oup by a having a>0 order by 1; select * from v4",

    "create table t(a); insert into t values(1); select * from t where rowid in (select rowid from t); vacuum;"
    " begin; vacuum; commit; savepoint x; insert into t values(2); release x; select * from t; begin; create t"
    "able z(a); insert into z values(3); rollback; select * from z"};

static void add_row(buf *out, int n, const char *(*column)(void *, int), void *statement) {
  for (int i = 0; i < n; i++) buf_printf(out, "%s%s", i ? "|" : "", column(statement, i) ? column(statement, i) : "");
  buf_byte(out, '\n');
}
static const char *sqlite_text(void *s, int i) { return (const char *)sqlite3_column_text(s, i); }
static const char *our_text(void *s, int i) { return hdb_column_text(s, i); }

static void sqlite_one(sqlite3 *db, const char *sql, buf *out) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
  while (rc == SQLITE_OK && s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
    add_row(out, sqlite3_column_count(s), sqlite_text, s);
    rc = SQLITE_OK;
  }
  if (rc != SQLITE_OK && rc != SQLITE_DONE) buf_printf(out, "%d %s\n", sqlite3_extended_errcode(db), sqlite3_errmsg(db));
  buf_printf(out, "-- %d\n", sqlite3_get_autocommit(db));
  sqlite3_finalize(s);
}

static void our_one(hdb *db, const char *sql, buf *out) {
  hdb_stmt *s = NULL;
  int rc = hdb_prepare(db, sql, -1, 0, &s, NULL);
  while (rc == HDB_OK && s && (rc = hdb_step(s)) == HDB_ROW) {
    add_row(out, hdb_column_count(s), our_text, s);
    rc = HDB_OK;
  }
  if (rc != HDB_OK && rc != HDB_DONE) buf_printf(out, "%d %s\n", hdb_extended_errcode(db), hdb_errmsg(db));
  buf_printf(out, "-- %d\n", hdb_get_autocommit(db));
  hdb_finalize(s);
}

/* One statement after the other; an error is told and the script goes on. */
static void run_both(const char *script, buf *expected, buf *got) {
  sqlite3 *theirs;
  hdb *ours;
  buf statement = BUF_INIT;
  sqlite3_open(":memory:", &theirs);
  ck_assert_int_eq(hdb_open(":memory:", &ours, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK);
  for (const char *p = script; *p;) {
    const char *end = strchr(p, ';');
    size_t n = end ? (size_t)(end - p) + 1 : strlen(p);
    buf_append(&statement, p, n);
    p += n;
    if (*p && !sqlite3_complete(buf_cstr(&statement))) continue;
    sqlite_one(theirs, buf_cstr(&statement), expected);
    our_one(ours, buf_cstr(&statement), got);
    buf_clear(&statement);
  }
  sqlite3_close(theirs);
  ck_assert_int_eq(hdb_close(ours), HDB_OK);
  buf_free(&statement);
}

START_TEST(a_script_gives_what_sqlite_gives) {
  buf expected = BUF_INIT, got = BUF_INIT;
  run_both(scripts[_i], &expected, &got);
  const char *a = buf_cstr(&expected), *b = buf_cstr(&got);
  ck_assert_msg(strcmp(a, b) == 0, "%s\nSQLite:\n%s\nours:\n%s", scripts[_i], a, b);
  buf_free(&expected);
  buf_free(&got);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sql_ddl");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 60);
  tcase_add_loop_test(c, a_script_gives_what_sqlite_gives, 0, sizeof scripts / sizeof *scripts);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
