/* Names in whole queries: each runs here and in libsqlite3; labels, rows, and errors must be the same. */
#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "sql/internal.h"

static const char *const setup_texts[] = {
    "create table t(a,b)", "create table u(a int,c text collate nocase)",
    "insert into t values(1,2),(3,4),(5,null)", "insert into u values(1,'x'),(3,'Y'),(7,'z')",
    "create view v as select a,b from t", "create table k(id integer primary key, x text, y real)",
    "insert into k values(1,'one',1.5),(2,'two',2.5),(10,'ten',null)",
    "create view w(p,q) as select id,x from k where id>1",
};

static const char *const queries[] = {
    "select * from t,t",
    "select t.a from t,t",
    "select rowid from t,u",
    "select a from t,u",
    "select * from t join u using(a)",
    "select *,u.* from t full join u using(a)",
    "select (select 1 from u order by t.b) from t",
    "select (select 1 from u group by t.b) from t",
    "select a from t where count(*)>1",
    "select count(*) from t where count(*)>1",
    "select a from t group by count(*)",
    "select a, (select 1 from nosuch) from t where zz=1",
    "select nosuchcol, (select 1 from nosuch) from t",
    "select x.a,x.b from (t join u on t.a=u.a) as x",
    "select t.a,b from (t join u on t.a=u.a)",
    "select a from (select a,a from t)",
    "select * from (select a,a,1,'x' from t)",
    "select \"a:1\" from (select a,a from t)",
    "select 1 order by 2",
    "select 1 union select 2 order by foo",
    "select 1, 2 union select 2",
    "select (1,2)",
    "select (select 1,2)",
    "select 1 in (select 1,2)",
    "select (1,2) in (select 1)",
    "select (1,2)=(1,2,3)",
    "select (1,2) in ((1,2),(3,4))",
    "select 'a' in ('A' collate nocase)",
    "select 'a' in ('A' collate nocase,'b')",
    "values (1,2),(3)",
    "select max(a) filter (where b) over () from t",
    "select upper(distinct a) from t",
    "select upper(a) filter (where 1) from t",
    "select upper(a) over () from t",
    "select row_number() from t",
    "select row_number() from t where row_number() over ()",
    "select nosuch(1)",
    "select abs(1,2)",
    "select count(a,b) from t",
    "select sum(*) from t",
    "select a having 1",
    "select a from t having a",
    "select a from t having count(*)>0",
    "select 1 as x, x+1",
    "select a as x from t where x=1 and \"zork\"='zork'",
    "select 9223372036854775808, -9223372036854775808, -(9223372036854775808), 0xffffffffffffffff, "
    "-0x8000000000000000,-0.0",
    "select x'41'||x'42', typeof(x'41'||x'42')",
    "select true, false, \"true\", 1 is true, 'a' is not true, t.true from t",
    "select t.true from t",
    "select main.t.a, temp.t.a from t",
    "select x.y.z from t",
    "select raise(abort,'x')",
    "select a from t limit a",
    "select a from t order by 1+1, 'a', -1, 1.5",
    "select a from t order by 0",
    "select a from t group by 2",
    "select a collate nocase as z from t order by z collate binary, 1 collate rtrim",
    "select * from nosuch.t",
    "select t.* from u",
    "select *",
    "select count(distinct a,b) from t",
    "with x as (select * from x) select * from x",
    "with recursive x(i) as (select 1 union all select i+1 from x,x where i<3) select * from x",
    "with x as (select 1), x as (select 2) select * from x",
    "with x(a,b) as (select 1) select * from x",
    "with recursive x(i) as (select 1 union all select max(i) from x) select * from x",
    "with recursive x(i) as (select 1 union all select i+1 from (select * from x)) select * from x",
    "with recursive x(i) as (select 1 union all select i+1 from y), y as (select * from x) select * from "
    "x",
    "select * from t(1)",
    "with x as (select 1) select * from x(1)",
    "select 1 from t order by count(*)",
    "select a from t order by a desc, row_number() over (order by b)",
    "select a from t where (select count(t.a) from u)",
    "select (select count(t.a) from u) from t",
    "select (select count(t.a+u.a) from u) from t",
    "select likelihood(1,2)",
    "select likely(a) from t",
    "select json_each.value from json_each('[1,2]')",
    "select a as a, b as a from t order by a",
    "select 1 regexp 2",
    "select 1 match 2",
    "select (select 1,2) = (1,2)",
    "select 1 between (1,2) and 3",
    "select abs((1,2))",
    "select case (1,2) when 1 then 2 end",
    "select count(*) over w from t window w as (partition by a), w as (order by b)",
    "select count(*) over zz from t",
    "select count(*) over (w order by b) from t window w as (order by a)",
    "select count(*) over (w partition by b) from t window w as (order by a)",
    "select count(*) over (w rows current row) from t window w as (rows current row)",
    "select count(*) over (rows between current row and 1 preceding) from t",
    "select count(*) over (range between 1 preceding and current row) from t",
    "select count(distinct a) over () from t",
    "select sum(count(*)) over () from t",
    "select sum(sum(a)) from t",
    "select sum(row_number() over ()) from t",
    "select a from t where row_number() over () > 1",
    "select * from t",
    "select *, * from t",
    "select t.*, u.* from t, u where t.a=u.a",
    "select * from t left join u using(a)",
    "select * from t right join u using(a)",
    "select * from t full join u using(a)",
    "select a from t full join u using(a) order by a",
    "select t.a, u.a, a from t full join u using(a) order by 3",
    "select * from t natural join u",
    "select * from t natural left join u",
    "select * from t natural full join u",
    "select * from (select a as x, b from t) where x>1",
    "select * from v",
    "select * from w",
    "select p+1, q from w where p=10",
    "select rowid, * from k",
    "select id, rowid, oid, _rowid_ from k",
    "select k.rowid from k where k.oid=2",
    "select a, (select count(*) from u where u.a=t.a) from t",
    "select a, (select max(c) from u where u.a<=t.a) from t",
    "select a from t where exists(select 1 from u where u.a=t.a)",
    "select a from t where a in (select a from u)",
    "select a from t where a not in (select a from u)",
    "select a in (1,null) from t",
    "select a in u from (select 1 as a)",
    "select a from t where a in (select a from u union select 5)",
    "select sum(a), count(*), avg(b), min(a), max(a) from t",
    "select b, sum(a) from t group by b",
    "select a%2, count(*) from t group by 1",
    "select a%2 as m, count(*) c from t group by m having c>0 order by m",
    "select count(*) from t,u",
    "select (select sum(t.a+u.a) from u) from t",
    "select a, sum(a) over (order by a) from t",
    "select a, row_number() over (order by b desc), rank() over w from t window w as (order by b)",
    "select a, sum(a) over (partition by a%2 order by a rows between 1 preceding and current row) from t",
    "select a, sum(count(*)) over () from t group by a",
    "with recursive c(i) as (select 1 union all select i+1 from c where i<5) select * from c",
    "with recursive c(i) as (values(1) union select i+1 from c where i<5) select i, i*i from c",
    "with x as (select a from t), y as (select a from x where a>1) select * from y",
    "with x(n) as (select a from t) select n from x order by n desc",
    "with t as (select 99 as a) select * from t",
    "with x as (select 1 as a) select * from x, x as y",
    "with recursive fib(a,b) as (select 0,1 union all select b,a+b from fib limit 10) select a from fib",
    "with recursive q(i) as (select 1 union all select i+1 from q where i<3), r as (select i*10 as j "
    "from q) select * from r, q",
    "select * from t union select a, c from u",
    "select a from t union all select a from u order by 1",
    "select a from t intersect select a from u",
    "select a from t except select a from u",
    "select a as z from t union select c from u order by z",
    "select a from t union select c from u order by c",
    "select a,b from t order by b desc, a",
    "select a x from t order by x+0 desc",
    "select a from t order by -a",
    "select distinct a%2 from t",
    "select a from t limit 2 offset 1",
    "select a from t limit 1, 1",
    "select count(distinct a%2) from t",
    "select group_concat(a) from t",
    "select group_concat(a, '-') from t where a>1",
    "select case a when 1 then 'one' when 3 then 'three' else 'many' end from t",
    "select x from k where x like 't%'",
    "select x from k where x glob 'o*'",
    "select c from u where c='X'",
    "select c from u where c in ('X','y')",
    "select c from u order by c desc",
    "select max(c), a from u",
    "select min(a), b from t",
    "select j.b from (t join u on t.a=u.a) as j",
    "select t.b from (t join u on t.a=u.a)",
    "select * from t left join (u join k on u.a=k.id) on t.a=u.a",
    "select * from t left join u on t.a=u.a where u.c is null",
    "select typeof(a), typeof(b) from t",
    "select (a,b)=(1,2) from t",
    "select a from t where (a,b) in (select 1,2)",
    "select a from t where (a,b) > (1,2)",
    "select a from t where (a, b) in ((1,2),(3,4))",
    "select * from t as x, t as y where x.a < y.a",
    "values (1,2),(3,4)",
    "select * from (values (1,2),(3,4))",
    "select column1 from (values (1,2),(3,4)) order by column2 desc",
    "select 1 as a, 2 as a",
    "select * from (select 1 as a, 2 as a)",
    "select a from t where b is not null and a between 1 and 3",
    "select a from t where not (a=1 or b=4)",
    "select b from t where b is null",
    "select a from t where b is not distinct from null",
    "select a from t group by a having count(*)=1 order by count(*), a",
    "select exists(select 1 from t where a=99)",
    "select (select a from t where a=99)",
    "select (select a,b from t limit 1)=(1,2)",
    "select \"a\" from t",
    "select \"nosuch\" from t",
    "select 'a' from t",
    "select t.\"a\", [b], `a` from t",
    "select main.t.a from t",
    "select main.t.a from main.t",
    "select x.a from t as x",
    "select t.a from t as x",
    "select a from t x join u using(a) join k on k.id=a",
    "select * from t, (select a+1 as n from t)",
    "select n from (select a+1 as n from t) where n>2 group by n",
    "select total(a), a from t group by a%2 order by 1",
    "select a, b from t where rowid=2",
    "select min(a,b) from t",
    "select max(a) from t where a<0",
    "select count(*) from t where 0",
    "select count(*), 5 from t where 0 group by a",
    "select upper(x)||'!' as loud from k order by loud",
    "select a from t order by (select c from u where u.a=t.a)",
    "select sum(a) filter (where a>1) from t",
    "select nullif(a,1), ifnull(b,'n') from t",
    "select coalesce(b, a) from t",
    "select a from t where +a='1'",
    "select a from t where a='1'",
    "select a from u where a='1'",
    "select c from u where c||''='X'",
    "select c collate binary = 'X' from u",
    "select a from t where a>=all",
    "select 1 from t where a=1 and b=2 or 0",
    "select * from t cross join u",
    "select * from t, u on t.a=u.a",
    "select t.rowid, u.rowid from t, u",
    "select a+0.0, a/2, a%2, a*1.0/2 from t",
    "select * from t where a = (select max(a) from t)",
    "select * from t where a > (select avg(a) from t)",
    "select * from t where a = (select max(a) from u where u.a < 3 or t.a=5)",
    "select count(*) from (select distinct b from t)",
    "select count(*) from (select a from t union select a from u)",
    "select sum(x) from (select a as x from t union all select a from u)",
    "WITH RECURSIVE d(x) AS (VALUES(1) UNION ALL SELECT rowid+1 FROM d WHERE rowid<10) SELECT x FROM d",
    "SELECT (SELECT 1 FROM u LEFT JOIN (SELECT x AS v FROM k) ON 500=v WHERE (v)) FROM t",
    "SELECT 1 FROM u LEFT JOIN (SELECT x AS v FROM k) ON 500=v WHERE (v)",
    "SELECT 1 FROM u LEFT JOIN (SELECT x AS v FROM k) ON 500=v WHERE v",
    "SELECT 1 FROM u LEFT JOIN k ON 500=k.x WHERE k.x",
    "SELECT id is null, id is not null, count(*) from k where 0",
    "select a, c from t left join u using(a) where c is null",
    "select u.a from t left join u on t.a=u.a where u.a is null",
    "select * from v indexed by x",
    "select 3175546974276630385 < 3175546974276630385.0",
    "WITH RECURSIVE d(x) AS (VALUES(1) UNION ALL SELECT rowid+1 FROM d) SELECT x FROM d limit 3",
    "WITH RECURSIVE d(x) AS (SELECT 1 UNION ALL SELECT nosuch+1 FROM d) SELECT x FROM d limit 3",
    "WITH RECURSIVE d(x) AS (SELECT 1 UNION ALL SELECT d.rowid+1 FROM d) SELECT x FROM d limit 3",
    "WITH d(x) AS (SELECT 1) SELECT rowid FROM d limit 3",
};

static hdb *db;
static sqlite3 *lite;

static void add_value(buf *b, int type, const char *text) {
  static const char *const names[] = {"", "i", "r", "t", "b", "null"};
  buf_printf(b, "%s:%s|", names[type], text ? text : "");
}

static char *ours(const char *sql) {
  buf b = BUF_INIT;
  hdb_stmt *s = NULL;
  int rc = hdb_prepare(db, sql, -1, 0, &s, NULL);
  for (int i = 0; rc == HDB_OK && i < hdb_column_count(s); i++) buf_printf(&b, "[%s]", hdb_column_name(s, i));
  while (rc == HDB_OK && (rc = hdb_step(s)) == HDB_ROW) {
    for (int i = 0; i < hdb_column_count(s); i++) {
      int type = hdb_column_type(s, i);
      add_value(&b, type, hdb_column_text(s, i));
    }
    buf_text(&b, "\n");
    rc = HDB_OK;
  }
  if (rc != HDB_DONE) buf_printf(&b, "error %s", hdb_errmsg(db));
  hdb_finalize(s);
  buf_byte(&b, 0);
  return (char *)b.p;
}

static char *theirs(const char *sql) {
  buf b = BUF_INIT;
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(lite, sql, -1, &s, NULL);
  for (int i = 0; rc == SQLITE_OK && i < sqlite3_column_count(s); i++) buf_printf(&b, "[%s]", sqlite3_column_name(s, i));
  while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(s); i++) {
      int type = sqlite3_column_type(s, i);
      add_value(&b, type, (const char *)sqlite3_column_text(s, i));
    }
    buf_text(&b, "\n");
    rc = SQLITE_OK;
  }
  if (rc != SQLITE_DONE) buf_printf(&b, "error %s", sqlite3_errmsg(lite));
  sqlite3_finalize(s);
  buf_byte(&b, 0);
  return (char *)b.p;
}

static void setup(void) {
  ck_assert_int_eq(hdb_open(":memory:", &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE), HDB_OK);
  ck_assert_int_eq(sqlite3_open(":memory:", &lite), SQLITE_OK);
  for (size_t i = 0; i < sizeof setup_texts / sizeof *setup_texts; i++) {
    ck_assert_int_eq(hdb_exec(db, setup_texts[i], NULL, NULL, NULL), HDB_OK);
    ck_assert_int_eq(sqlite3_exec(lite, setup_texts[i], NULL, NULL, NULL), SQLITE_OK);
  }
}
static void teardown(void) {
  hdb_close(db);
  sqlite3_close(lite);
}

START_TEST(queries_and_their_errors_are_sqlites) {
  int bad = 0;
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
    char *a = ours(queries[i]), *b = theirs(queries[i]);
    if (strcmp(a, b) != 0) {
      bad++;
      fprintf(stderr, "%s\n  ours:   %s\n  SQLite: %s\n", queries[i], a, b);
    }
    free(a);
    free(b);
  }
  ck_assert_int_eq(bad, 0);
}
END_TEST

/* What the authorizer hears, in order. */
typedef struct heard {
  buf text;
} heard;
static int hear(void *data, int action, const char *a, const char *b, const char *database, const char *context) {
  heard *h = data;
  buf_printf(&h->text, "%d %s %s %s %s; ", action, a ? a : "-", b ? b : "-", database ? database : "-", context ? context : "-");
  return 0;
}

START_TEST(the_authorizer_hears_what_sqlite_tells) {
  static const char *const texts[] = {
      "select a, b from t where a > 1", "select count(*) from t", "select upper(c) from u", "select * from v",
      "select p, q from w", "select a from t where a in (select a from u)",
      "select t.a, (select max(c) from u where u.a = t.a) from t", "select id, rowid from k",
  };
  int bad = 0;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    heard h1 = {BUF_INIT}, h2 = {BUF_INIT};
    hdb_set_authorizer(db, hear, &h1);
    sqlite3_set_authorizer(lite, hear, &h2);
    hdb_stmt *s1 = NULL;
    sqlite3_stmt *s2 = NULL;
    hdb_prepare(db, texts[i], -1, 0, &s1, NULL);
    sqlite3_prepare_v2(lite, texts[i], -1, &s2, NULL);
    hdb_finalize(s1);
    sqlite3_finalize(s2);
    if (strcmp(buf_cstr(&h1.text), buf_cstr(&h2.text)) != 0) {
      bad++;
      fprintf(stderr, "%s\n  ours:   %s\n  SQLite: %s\n", texts[i], (char *)h1.text.p, (char *)h2.text.p);
    }
    buf_free(&h1.text);
    buf_free(&h2.text);
  }
  hdb_set_authorizer(db, NULL, NULL);
  ck_assert_int_eq(bad, 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("sql_resolve");
  TCase *t = tcase_create("resolve");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, queries_and_their_errors_are_sqlites);
  tcase_add_test(t, the_authorizer_hears_what_sqlite_tells);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
