// SQL to a tree: SQLite 3.45's grammar, and what HeliosDB adds to it. The actions only build nodes (build*.c).
//
// The order of the rules does not matter, the precedence table does; so does %fallback: a keyword listed there is a
// name wherever the automaton expects no keyword. Words of ours are decided in lex.c by look-ahead, so that no
// statement SQLite accepts changes its meaning.

%name grammar_feed
%token_prefix TK_
%token_type {token}
%default_type {token}
%extra_context {parser *p}
%stack_size 1000
%stack_overflow { parse_fail(p, NULL, "parser stack overflow"); }
%syntax_error {
  (void)yymajor;
  parse_syntax_error(p, TOKEN);
}
%include {
#include "grammar/parser.h"
#include <assert.h>
#include <stdlib.h>
#define ALWAYS_NONE ((token){0, 0})
#define NO_ON ((struct on_using){0, 0})
#define NO_HINT ((struct index_hint){{0, 0}, false})
#define NO_TIME ((struct table_time){0, 0, 0})
}

%left OR.
%left AND.
%right NOT.
%left IS MATCH LIKE_KW BETWEEN IN ISNULL NOTNULL NE EQ.
%left GT LE LT GE.
%right ESCAPE.
%left BITAND BITOR LSHIFT RSHIFT VEC_L2 VEC_COS VEC_IP VEC_L1 PGOP.
%left PLUS MINUS.
%left STAR SLASH REM.
%left POWER.
%left CONCAT PTR.
%left COLLATE CAST_SUFFIX.
%right BITNOT.
%nonassoc ON.

%fallback ID
  ABORT ACTION AFTER ANALYZE ASC ATTACH BEFORE BEGIN BY CASCADE CAST COLUMNKW
  CONFLICT DATABASE DEFERRED DESC DETACH DO
  EACH END EXCLUSIVE EXPLAIN FAIL FOR
  IGNORE IMMEDIATE INITIALLY INSTEAD LIKE_KW MATCH NO PLAN
  QUERY KEY OF OFFSET PRAGMA RAISE RECURSIVE RELEASE REPLACE RESTRICT ROW ROWS
  ROLLBACK SAVEPOINT TEMP TRIGGER VACUUM VIEW VIRTUAL WITH WITHOUT
  NULLS FIRST LAST
  CURRENT FOLLOWING PARTITION PRECEDING RANGE UNBOUNDED
  EXCLUDE GROUPS OTHERS TIES
  GENERATED ALWAYS
  MATERIALIZED
  REINDEX RENAME CTIME_KW IF
  VERSIONS.
%wildcard ANY.
%token_class id ID|INDEXED.
%token_class idj ID|INDEXED|JOIN_KW.
%token_class ids ID|STRING.
%token_class number INTEGER|FLOAT.

// ---- statements ----
input ::= cmdlist.
input ::= LONE_EXPRESSION expr(E) SEMI. { p->lone = E; p->done = true; }
cmdlist ::= cmdlist ecmd.
cmdlist ::= ecmd.
ecmd ::= SEMI.
ecmd ::= cmdx SEMI.
ecmd ::= explain cmdx SEMI.
explain ::= EXPLAIN. { p->explain = 1; }
explain ::= EXPLAIN QUERY PLAN. { p->explain = 2; }
cmdx ::= cmd. { finish_statement(p); }

%type transtype {int}
cmd ::= BEGIN transtype(T) trans_opt. {
  statement *s = build_statement(p, ST_BEGIN);
  if (s) s->begin.mode = (uint8_t)T;
}
trans_opt ::= .
trans_opt ::= TRANSACTION.
trans_opt ::= TRANSACTION nm.
transtype(A) ::= . { A = 0; }
transtype(A) ::= DEFERRED. { A = 0; }
transtype(A) ::= IMMEDIATE. { A = 1; }
transtype(A) ::= EXCLUSIVE. { A = 2; }
cmd ::= COMMIT|END trans_opt. { build_statement(p, ST_COMMIT); }
cmd ::= ROLLBACK trans_opt. { build_statement(p, ST_ROLLBACK); }
savepoint_opt ::= SAVEPOINT.
savepoint_opt ::= .
cmd ::= SAVEPOINT nm(X). { build_named(p, ST_SAVEPOINT, X); }
cmd ::= RELEASE savepoint_opt nm(X). { build_named(p, ST_RELEASE, X); }
cmd ::= ROLLBACK trans_opt TO savepoint_opt nm(X). { build_named(p, ST_ROLLBACK_TO, X); }

// ---- CREATE TABLE ----
%type temp {int}
%type ifnotexists {int}
%type ifexists {int}
cmd ::= create_table create_table_args.
create_table ::= createkw temp(T) TABLE ifnotexists(E) nm(X) dbnm(Y). { begin_create_table(p, T, E, X, Y); }
createkw(A) ::= CREATE(A).
ifnotexists(A) ::= . { A = 0; }
ifnotexists(A) ::= IF NOT EXISTS. { A = 1; }
temp(A) ::= TEMP. { A = 1; }
temp(A) ::= . { A = 0; }
create_table_args ::= LP columnlist conslist_opt RP(E) table_option_set(O). {
  end_create_table(p, O ? NULL : E.p + E.n, (uint8_t)O, NULL);
}
create_table_args ::= AS select(S). { end_create_table(p, NULL, 0, S); }
%type table_option_set {int}
%type table_option {int}
table_option_set(A) ::= . { A = 0; }
table_option_set(A) ::= table_option(X). { A = X; }
table_option_set(A) ::= table_option_set(X) COMMA table_option(Y). { A = X | Y; }
table_option(A) ::= WITHOUT(W) nm(X). { A = table_option(p, W, X); }
table_option(A) ::= nm(X). { A = table_option(p, ALWAYS_NONE, X); }
columnlist ::= columnlist COMMA columnname carglist. { end_column(p); }
columnlist ::= columnname carglist. { end_column(p); }
columnname(A) ::= nm(A) typetoken(Y). { begin_column(p, A, Y); }
typetoken(A) ::= . { A = ALWAYS_NONE; }
typetoken(A) ::= typename(A).
typetoken(A) ::= typename(X) LP signed RP(Y). { A = token_to(X, Y.p + Y.n); }
typetoken(A) ::= typename(X) LP signed COMMA signed RP(Y). { A = token_to(X, Y.p + Y.n); }
typename(A) ::= ids(A).
typename(A) ::= typename(X) ids(Y). { A = token_to(X, Y.p + Y.n); }
signed ::= plus_num.
signed ::= minus_num.

nm(A) ::= idj(A).
nm(A) ::= STRING(A).
dbnm(A) ::= . { A = ALWAYS_NONE; }
dbnm(A) ::= DOT nm(X). { A = X; }

carglist ::= carglist ccons.
carglist ::= .
ccons ::= CONSTRAINT nm(X). { p->constraint_name = X; }
ccons ::= DEFAULT scantok(F) term(X). {
  constraint *c = add_constraint(p, false, CON_DEFAULT);
  if (c) c->value = X, c->span = slice_of(F.p, F.n);
}
ccons ::= DEFAULT LP(F) expr(X) RP(L). {
  constraint *c = add_constraint(p, false, CON_DEFAULT);
  if (c) c->value = X, c->span = trimmed(F.p + 1, L.p);
}
ccons ::= DEFAULT PLUS(F) term(X). {
  constraint *c = add_constraint(p, false, CON_DEFAULT);
  if (c) c->value = build_unary(p, EX_PLUS, F, X), c->span = trimmed(F.p, p->end);
}
ccons ::= DEFAULT MINUS(F) term(X). {
  constraint *c = add_constraint(p, false, CON_DEFAULT);
  if (c) c->value = build_unary(p, EX_NEG, F, X), c->span = trimmed(F.p, p->end);
}
ccons ::= DEFAULT scantok id(X). {
  constraint *c = add_constraint(p, false, CON_DEFAULT);
  if (c) c->value = build_name(p, X), c->span = slice_of(X.p, X.n);
}
scantok(A) ::= . { A = p->last; }
ccons ::= NULL onconf(R). {
  constraint *c = add_constraint(p, false, CON_NULL);
  if (c) c->conflict = R;
}
ccons ::= NOT NULL onconf(R). {
  constraint *c = add_constraint(p, false, CON_NOT_NULL);
  if (c) c->conflict = R;
}
ccons ::= PRIMARY KEY sortorder(D) onconf(R) autoinc(I). {
  constraint *c = add_constraint(p, false, CON_PRIMARY_KEY);
  if (c) c->descending = D > 0, c->conflict = R, c->autoincrement = I;
}
ccons ::= UNIQUE onconf(R). {
  constraint *c = add_constraint(p, false, CON_UNIQUE);
  if (c) c->conflict = R;
}
ccons ::= CHECK LP(F) expr(X) RP(L). {
  constraint *c = add_constraint(p, false, CON_CHECK);
  if (c) c->value = X, c->span = trimmed(F.p + 1, L.p);
}
ccons ::= REFERENCES nm(T) eidlist_opt(L) refargs(F). {
  constraint *c = add_constraint(p, false, CON_REFERENCES);
  foreign_key_clause *f = build_foreign_key(p, T, L);
  if (c && f) f->on_delete = F & 255, f->on_update = F >> 8 & 255, f->constraint_name = c->name, c->foreign_key = f;
}
ccons ::= defer_subclause(D). {
  if (p->foreign_key) p->foreign_key->deferrable = D > 0, p->foreign_key->initially_deferred = D == 2;
}
ccons ::= COLLATE ids(C). {
  constraint *c = add_constraint(p, false, CON_COLLATE);
  if (c) c->collation = token_name(p, C);
}
ccons ::= GENERATED ALWAYS AS LP(F) expr(X) RP(L). { add_generated(p, F, X, L, ALWAYS_NONE); }
ccons ::= GENERATED ALWAYS AS LP(F) expr(X) RP(L) ID(K). { add_generated(p, F, X, L, K); }
ccons ::= AS LP(F) expr(X) RP(L). { add_generated(p, F, X, L, ALWAYS_NONE); }
ccons ::= AS LP(F) expr(X) RP(L) ID(K). { add_generated(p, F, X, L, K); }

%type autoinc {int}
autoinc(A) ::= . { A = 0; }
autoinc(A) ::= AUTOINCR. { A = 1; }

// REFERENCES ... : the two actions in one number, on_delete | on_update << 8
%type refargs {int}
%type refarg {struct reference_action}
%type refact {int}
refargs(A) ::= . { A = 0; }
refargs(A) ::= refargs(X) refarg(Y). {
  A = X;
  if (Y.action != 255) A = Y.on_update ? (X & 255) | Y.action << 8 : (X & ~255) | Y.action;
}
refarg(A) ::= MATCH nm. { A = (struct reference_action){false, 255}; }
refarg(A) ::= ON INSERT refact. { A = (struct reference_action){false, 255}; }
refarg(A) ::= ON DELETE refact(X). { A = (struct reference_action){false, (uint8_t)X}; }
refarg(A) ::= ON UPDATE refact(X). { A = (struct reference_action){true, (uint8_t)X}; }
refact(A) ::= SET NULL. { A = FK_SET_NULL; }
refact(A) ::= SET DEFAULT. { A = FK_SET_DEFAULT; }
refact(A) ::= CASCADE. { A = FK_CASCADE; }
refact(A) ::= RESTRICT. { A = FK_RESTRICT; }
refact(A) ::= NO ACTION. { A = FK_NO_ACTION; }
%type defer_subclause {int}
%type defer_subclause_opt {int}
%type init_deferred_pred_opt {int}
defer_subclause(A) ::= NOT DEFERRABLE init_deferred_pred_opt. { A = 0; }
defer_subclause(A) ::= DEFERRABLE init_deferred_pred_opt(X). { A = 1 + X; }
init_deferred_pred_opt(A) ::= . { A = 0; }
init_deferred_pred_opt(A) ::= INITIALLY DEFERRED. { A = 1; }
init_deferred_pred_opt(A) ::= INITIALLY IMMEDIATE. { A = 0; }
defer_subclause_opt(A) ::= . { A = 0; }
defer_subclause_opt(A) ::= defer_subclause(A).

conslist_opt ::= .
conslist_opt ::= COMMA conslist.
conslist ::= conslist tconscomma tcons.
conslist ::= tcons.
tconscomma ::= COMMA. { p->constraint_name = ALWAYS_NONE; }
tconscomma ::= .
tcons ::= CONSTRAINT nm(X). { p->constraint_name = X; }
tcons ::= PRIMARY KEY LP sortlist(X) autoinc(I) RP onconf(R). {
  constraint *c = add_constraint(p, true, CON_PRIMARY_KEY);
  if (c) c->columns = X, c->autoincrement = I, c->conflict = R;
  reject_nulls_order(p, X);
}
tcons ::= UNIQUE LP sortlist(X) RP onconf(R). {
  constraint *c = add_constraint(p, true, CON_UNIQUE);
  if (c) c->columns = X, c->conflict = R;
  reject_nulls_order(p, X);
}
tcons ::= CHECK LP(F) expr(X) RP(L) onconf(R). {
  constraint *c = add_constraint(p, true, CON_CHECK);
  if (c) c->value = X, c->span = trimmed(F.p + 1, L.p), c->conflict = R;
}
tcons ::= FOREIGN KEY LP eidlist(C) RP REFERENCES nm(T) eidlist_opt(L) refargs(F) defer_subclause_opt(D). {
  constraint *c = add_constraint(p, true, CON_FOREIGN_KEY);
  foreign_key_clause *f = build_foreign_key(p, T, L);
  if (c && f) {
    f->columns = C, f->on_delete = F & 255, f->on_update = F >> 8 & 255, f->constraint_name = c->name;
    f->deferrable = D > 0, f->initially_deferred = D == 2, c->foreign_key = f;
  }
}

%type onconf {uint8_t}
%type orconf {uint8_t}
%type resolvetype {uint8_t}
onconf(A) ::= . { A = CONFLICT_NONE; }
onconf(A) ::= ON CONFLICT resolvetype(X). { A = X; }
orconf(A) ::= . { A = CONFLICT_NONE; }
orconf(A) ::= OR resolvetype(X). { A = X; }
resolvetype(A) ::= raisetype(X). { A = (uint8_t)X; }
resolvetype(A) ::= IGNORE. { A = CONFLICT_IGNORE; }
resolvetype(A) ::= REPLACE. { A = CONFLICT_REPLACE; }

cmd ::= DROP TABLE ifexists(E) fullname(X). { build_drop(p, ST_DROP_TABLE, E, X); }
ifexists(A) ::= IF EXISTS. { A = 1; }
ifexists(A) ::= . { A = 0; }

cmd ::= createkw temp(T) VIEW ifnotexists(E) nm(Y) dbnm(Z) eidlist_opt(C) AS select(S). {
  build_create_view(p, T, E, Y, Z, C, S);
}
cmd ::= DROP VIEW ifexists(E) fullname(X). { build_drop(p, ST_DROP_VIEW, E, X); }

// ---- SELECT ----
%type select {select *}
%type selectnowith {select *}
%type oneselect {select *}
%type values {select *}
%type multiselect_op {int}
cmd ::= select(S). {
  statement *s = build_statement(p, ST_SELECT);
  if (s) s->select = S;
}
select(A) ::= WITH wqlist(W) selectnowith(S). { A = finish_select(p, W, S); }
select(A) ::= WITH RECURSIVE wqlist(W) selectnowith(S). {
  if (W) W->recursive = true;
  A = finish_select(p, W, S);
}
select(A) ::= selectnowith(S). { A = finish_select(p, NULL, S); }
selectnowith(A) ::= oneselect(A).
selectnowith(A) ::= selectnowith(L) multiselect_op(O) oneselect(R). { A = build_compound(p, L, O, R); }
multiselect_op(A) ::= UNION. { A = COMPOUND_UNION; }
multiselect_op(A) ::= UNION ALL. { A = COMPOUND_UNION_ALL; }
multiselect_op(A) ::= EXCEPT. { A = COMPOUND_EXCEPT; }
multiselect_op(A) ::= INTERSECT. { A = COMPOUND_INTERSECT; }
oneselect(A) ::= SELECT(F) distinct(D) selcollist(W) from(X) where_opt(Y) groupby_opt(G) having_opt(H)
                 orderby_opt(Z) limit_opt(L). {
  A = build_select(p, F, D, W, X, Y, G, H, NULL, Z, L);
}
oneselect(A) ::= SELECT(F) distinct(D) selcollist(W) from(X) where_opt(Y) groupby_opt(G) having_opt(H)
                 window_clause(R) orderby_opt(Z) limit_opt(L). {
  A = build_select(p, F, D, W, X, Y, G, H, R, Z, L);
}
oneselect(A) ::= values(A).
values(A) ::= VALUES(F) LP nexprlist(X) RP. { A = build_values(p, F, NULL, X); }
values(A) ::= values(V) COMMA LP(F) nexprlist(X) RP. { A = build_values(p, F, V, X); }

%type distinct {int}
distinct(A) ::= DISTINCT. { A = 1; }
distinct(A) ::= ALL. { A = 0; }
distinct(A) ::= . { A = 0; }

%type scanpt {const uint8_t *}
scanpt(A) ::= . { A = p->last.p; }
%type selcollist {expr_list *}
%type sclp {expr_list *}
sclp(A) ::= selcollist(A) COMMA.
sclp(A) ::= . { A = NULL; }
selcollist(A) ::= sclp(L) scanpt(B) expr(X) scanpt(Z) as(Y). { A = build_result_column(p, L, X, B, Z, Y); }
selcollist(A) ::= sclp(L) scanpt(B) STAR(S). {
  A = build_result_column(p, L, build_leaf(p, EX_STAR, S), B, p->end, ALWAYS_NONE);
}
selcollist(A) ::= sclp(L) scanpt(B) nm(T) DOT STAR. {
  expr *e = build_leaf(p, EX_STAR, T);
  if (e) e->table = token_name(p, T), e->text = "*", e->text_n = 1;
  A = build_result_column(p, L, e, B, p->end, ALWAYS_NONE);
}
as(A) ::= AS nm(X). { A = X; }
as(A) ::= ids(X). { A = X; }
as(A) ::= . { A = ALWAYS_NONE; }

// ---- FROM ----
%type from {source_list *}
%type seltablist {source_list *}
%type stl_prefix {struct join_prefix}
%type joinop {uint8_t}
%type on_using {struct on_using}
%type indexed_by {struct index_hint}
%type indexed_opt {struct index_hint}
%type table_time {struct table_time}
%type as_of {struct table_time}
%type time_value {expr *}
from(A) ::= . { A = NULL; }
from(A) ::= FROM seltablist(X). { A = X; }
stl_prefix(A) ::= seltablist(L) joinop(J). { A = (struct join_prefix){L, J}; }
stl_prefix(A) ::= . { A = (struct join_prefix){NULL, 0}; }
seltablist(A) ::= stl_prefix(L) nm(Y) dbnm(D) as(Z) on_using(N). {
  A = build_table(p, L, D.p ? Y : D, D.p ? D : Y, Z, NO_HINT, NO_TIME, N);
}
seltablist(A) ::= stl_prefix(L) nm(Y) dbnm(D) as(Z) indexed_by(I) on_using(N). {
  A = build_table(p, L, D.p ? Y : D, D.p ? D : Y, Z, I, NO_TIME, N);
}
seltablist(A) ::= stl_prefix(L) nm(Y) dbnm(D) table_time(T) as(Z) on_using(N). {
  A = build_table(p, L, D.p ? Y : D, D.p ? D : Y, Z, NO_HINT, T, N);
}
seltablist(A) ::= stl_prefix(L) nm(Y) dbnm(D) LP exprlist(E) RP as(Z) on_using(N). {
  A = build_call_source(p, L, D.p ? Y : D, D.p ? D : Y, E, Z, N);
}
seltablist(A) ::= stl_prefix(L) LP(F) select(S) RP as(Z) on_using(N). {
  A = build_query_source(p, L, F, S, Z, N);
}
seltablist(A) ::= stl_prefix(L) LP(F) seltablist(S) RP as(Z) on_using(N). {
  A = build_nested_source(p, L, F, S, Z, N);
}
table_time(A) ::= as_of(A).
table_time(A) ::= VERSIONS BETWEEN time_value(X) AND time_value(Y). {
  A = (struct table_time){TIME_VERSIONS, X, Y};
}
as_of(A) ::= AS_OF_TIMESTAMP time_value(X). { A = (struct table_time){TIME_TIMESTAMP, X, NULL}; }
as_of(A) ::= AS_OF_TRANSACTION time_value(X). { A = (struct table_time){TIME_TRANSACTION, X, NULL}; }
as_of(A) ::= AS_OF_SCN time_value(X). { A = (struct table_time){TIME_SCN, X, NULL}; }
as_of(A) ::= AS_OF_NOW. { A = (struct table_time){TIME_NOW, NULL, NULL}; }
time_value(A) ::= INTEGER(X). { A = build_literal(p, TK_INTEGER, X); }
time_value(A) ::= FLOAT(X). { A = build_literal(p, TK_FLOAT, X); }
time_value(A) ::= STRING(X). { A = build_literal(p, TK_STRING, X); }
time_value(A) ::= VARIABLE(X). { A = build_parameter(p, X); }
time_value(A) ::= MINUS(F) number(X). { A = build_unary(p, EX_NEG, F, build_literal(p, 0, X)); }
time_value(A) ::= LP expr(X) RP. { A = X; }

%type fullname {qualified_name}
%type xfullname {qualified_name}
fullname(A) ::= nm(X). { A = build_qualified(p, X, ALWAYS_NONE); }
fullname(A) ::= nm(X) DOT nm(Y). { A = build_qualified(p, X, Y); }
xfullname(A) ::= nm(X). { A = build_qualified(p, X, ALWAYS_NONE); }
xfullname(A) ::= nm(X) DOT nm(Y). { A = build_qualified(p, X, Y); }
xfullname(A) ::= nm(X) DOT nm(Y) AS nm(Z). {
  A = build_qualified(p, X, Y);
  A.alias = token_name(p, Z);
}
xfullname(A) ::= nm(X) AS nm(Z). {
  A = build_qualified(p, X, ALWAYS_NONE);
  A.alias = token_name(p, Z);
}

joinop(A) ::= COMMA. { A = 0; }
joinop(A) ::= JOIN. { A = JOIN_INNER; }
joinop(A) ::= JOIN_KW(X) JOIN. { A = build_join_kind(p, X, ALWAYS_NONE, ALWAYS_NONE); }
joinop(A) ::= JOIN_KW(X) nm(Y) JOIN. { A = build_join_kind(p, X, Y, ALWAYS_NONE); }
joinop(A) ::= JOIN_KW(X) nm(Y) nm(Z) JOIN. { A = build_join_kind(p, X, Y, Z); }

// The precedence of the empty rule lets ON go to the join in INSERT ... SELECT ... FROM t ON CONFLICT.
on_using(A) ::= ON expr(E). { A = (struct on_using){E, NULL}; }
on_using(A) ::= USING LP idlist(L) RP. { A = (struct on_using){NULL, L}; }
on_using(A) ::= . [OR] { A = NO_ON; }

indexed_opt(A) ::= . { A = NO_HINT; }
indexed_opt(A) ::= indexed_by(A).
indexed_by(A) ::= INDEXED BY nm(X). { A = (struct index_hint){X, false}; }
indexed_by(A) ::= NOT INDEXED. { A = (struct index_hint){{0, 0}, true}; }

%type orderby_opt {expr_list *}
%type sortlist {expr_list *}
%type sortorder {int}
%type nulls {int}
orderby_opt(A) ::= . { A = NULL; }
orderby_opt(A) ::= ORDER BY sortlist(X). { A = build_order(p, X); }
sortlist(A) ::= sortlist(L) COMMA expr(Y) sortorder(Z) nulls(X). { A = build_sort_term(p, L, Y, Z > 0, X); }
sortlist(A) ::= expr(Y) sortorder(Z) nulls(X). { A = build_sort_term(p, NULL, Y, Z > 0, X); }
sortorder(A) ::= ASC. { A = 0; }
sortorder(A) ::= DESC. { A = 1; }
sortorder(A) ::= . { A = -1; }
nulls(A) ::= NULLS FIRST. { A = 1; }
nulls(A) ::= NULLS LAST. { A = 2; }
nulls(A) ::= . { A = 0; }

%type groupby_opt {expr_list *}
%type having_opt {expr *}
%type where_opt {expr *}
%type where_opt_ret {expr *}
%type limit_opt {struct limit_clause}
groupby_opt(A) ::= . { A = NULL; }
groupby_opt(A) ::= GROUP BY nexprlist(X). { A = X; }
having_opt(A) ::= . { A = NULL; }
having_opt(A) ::= HAVING expr(X). { A = X; }
limit_opt(A) ::= . { A = (struct limit_clause){NULL, NULL}; }
limit_opt(A) ::= LIMIT expr(X). { A = (struct limit_clause){X, NULL}; }
limit_opt(A) ::= LIMIT expr(X) OFFSET expr(Y). { A = (struct limit_clause){X, Y}; }
limit_opt(A) ::= LIMIT expr(X) COMMA expr(Y). { A = (struct limit_clause){Y, X}; }
where_opt(A) ::= . { A = NULL; }
where_opt(A) ::= WHERE expr(X). { A = X; }
where_opt_ret(A) ::= . { A = NULL; }
where_opt_ret(A) ::= WHERE expr(X). { A = X; }
where_opt_ret(A) ::= RETURNING selcollist(X). {
  add_returning(p, X);
  A = NULL;
}
where_opt_ret(A) ::= WHERE expr(X) RETURNING selcollist(Y). {
  add_returning(p, Y);
  A = X;
}

// ---- DELETE, UPDATE, INSERT ----
%type with {with *}
%type wqlist {with *}
%type insert_cmd {uint8_t}
%type setlist {set_list *}
%type upsert {upsert *}
%type idlist_opt {name_list *}
%type idlist {name_list *}
%type eidlist_opt {name_list *}
%type eidlist {name_list *}
cmd ::= with(C) DELETE FROM xfullname(X) indexed_opt(I) where_opt_ret(W) orderby_opt(O) limit_opt(L). {
  build_delete(p, C, X, I, W, (struct order_limit){O, L});
}
cmd ::= with(C) UPDATE orconf(R) xfullname(X) indexed_opt(I) SET setlist(Y) from(F) where_opt_ret(W) orderby_opt(O)
        limit_opt(L). {
  build_update(p, C, R, X, I, Y, F, W, (struct order_limit){O, L});
}
setlist(A) ::= setlist(L) COMMA nm(X) EQ expr(Y). { A = build_set(p, L, build_names(p, NULL, X), false, Y); }
setlist(A) ::= setlist(L) COMMA LP idlist(X) RP EQ expr(Y). { A = build_set(p, L, X, true, Y); }
setlist(A) ::= nm(X) EQ expr(Y). { A = build_set(p, NULL, build_names(p, NULL, X), false, Y); }
setlist(A) ::= LP idlist(X) RP EQ expr(Y). { A = build_set(p, NULL, X, true, Y); }
cmd ::= with(W) insert_cmd(R) INTO xfullname(X) idlist_opt(F) select(S) upsert(U). {
  build_insert(p, W, R, X, F, S, U);
}
cmd ::= with(W) insert_cmd(R) INTO xfullname(X) idlist_opt(F) DEFAULT VALUES returning. {
  build_insert(p, W, R, X, F, NULL, NULL);
}
upsert(A) ::= . { A = NULL; }
upsert(A) ::= RETURNING selcollist(X). {
  add_returning(p, X);
  A = NULL;
}
upsert(A) ::= ON CONFLICT LP sortlist(T) RP where_opt(TW) DO UPDATE SET setlist(Z) where_opt(W) upsert(N). {
  A = build_upsert(p, T, TW, false, Z, W, N);
}
upsert(A) ::= ON CONFLICT LP sortlist(T) RP where_opt(TW) DO NOTHING upsert(N). {
  A = build_upsert(p, T, TW, true, NULL, NULL, N);
}
upsert(A) ::= ON CONFLICT DO NOTHING returning. { A = build_upsert(p, NULL, NULL, true, NULL, NULL, NULL); }
upsert(A) ::= ON CONFLICT DO UPDATE SET setlist(Z) where_opt(W) returning. {
  A = build_upsert(p, NULL, NULL, false, Z, W, NULL);
}
returning ::= RETURNING selcollist(X). { add_returning(p, X); }
returning ::= .
insert_cmd(A) ::= INSERT orconf(R). { A = R; }
insert_cmd(A) ::= REPLACE. { A = CONFLICT_REPLACE; }
idlist_opt(A) ::= . { A = NULL; }
idlist_opt(A) ::= LP idlist(X) RP. { A = X; }
idlist(A) ::= idlist(L) COMMA nm(Y). { A = build_names(p, L, Y); }
idlist(A) ::= nm(Y). { A = build_names(p, NULL, Y); }

// ---- expressions ----
%type expr {expr *}
%type term {expr *}
%type case_operand {expr *}
%type case_exprlist {expr_list *}
%type case_else {expr *}
%type exprlist {expr_list *}
%type nexprlist {expr_list *}
%type paren_exprlist {struct call_arguments}
%type between_op {int}
%type in_op {int}
%type likeop {struct like_operator}
%include {
struct like_operator {
  token name;
  bool negated;
};
struct call_arguments {
  expr_list *list;
  bool is_call;
};
}
expr(A) ::= term(A).
expr(A) ::= LP(F) expr(X) RP. { A = build_parentheses(p, F, X); }
expr(A) ::= idj(X). { A = build_name(p, X); }
expr(A) ::= nm(X) DOT nm(Y). { A = build_dot(p, ALWAYS_NONE, X, Y); }
expr(A) ::= nm(X) DOT nm(Y) DOT nm(Z). { A = build_dot(p, X, Y, Z); }
term(A) ::= NULL(X). { A = build_leaf(p, EX_NULL, X); }
term(A) ::= FLOAT(X). { A = build_literal(p, TK_FLOAT, X); }
term(A) ::= BLOB(X). { A = build_literal(p, TK_BLOB, X); }
term(A) ::= STRING(X). { A = build_literal(p, TK_STRING, X); }
term(A) ::= INTEGER(X). { A = build_literal(p, TK_INTEGER, X); }
expr(A) ::= VARIABLE(X). { A = build_parameter(p, X); }
expr(A) ::= expr(X) COLLATE ids(C). { A = build_collate(p, X, C); }
expr(A) ::= expr(X) CAST_SUFFIX(T). { A = build_cast_suffix(p, X, T); }
expr(A) ::= CAST(F) LP expr(E) AS typetoken(T) RP. { A = build_cast(p, F, E, T); }
expr(A) ::= idj(X) LP distinct(D) exprlist(Y) RP. { A = build_function(p, X, D, Y, false); }
expr(A) ::= idj(X) LP distinct(D) exprlist(Y) ORDER BY sortlist(O) RP. {
  A = build_function(p, X, D, Y, false);
  if (A) A->order_by = build_order(p, O);
}
expr(A) ::= idj(X) LP STAR RP. { A = build_function(p, X, false, NULL, true); }
expr(A) ::= idj(X) LP distinct(D) exprlist(Y) RP filter_over(Z). {
  A = build_window_call(p, build_function(p, X, D, Y, false), Z.filter, Z.over);
}
expr(A) ::= idj(X) LP distinct(D) exprlist(Y) ORDER BY sortlist(O) RP filter_over(Z). {
  A = build_window_call(p, build_function(p, X, D, Y, false), Z.filter, Z.over);
  if (A) A->order_by = build_order(p, O);
}
expr(A) ::= idj(X) LP STAR RP filter_over(Z). {
  A = build_window_call(p, build_function(p, X, false, NULL, true), Z.filter, Z.over);
}
term(A) ::= CTIME_KW(X). { A = build_function(p, X, false, NULL, false); }
expr(A) ::= LP(F) nexprlist(X) COMMA expr(Y) RP. { A = build_row(p, F, X, Y); }
expr(A) ::= expr(X) AND expr(Y). { A = build_and(p, X, Y); }
expr(A) ::= expr(X) OR expr(Y). { A = build_binary(p, EX_OR, X, Y); }
expr(A) ::= expr(X) LT expr(Y). { A = build_binary(p, EX_LT, X, Y); }
expr(A) ::= expr(X) GT expr(Y). { A = build_binary(p, EX_GT, X, Y); }
expr(A) ::= expr(X) GE expr(Y). { A = build_binary(p, EX_GE, X, Y); }
expr(A) ::= expr(X) LE expr(Y). { A = build_binary(p, EX_LE, X, Y); }
expr(A) ::= expr(X) EQ expr(Y). { A = build_binary(p, EX_EQ, X, Y); }
expr(A) ::= expr(X) NE expr(Y). { A = build_binary(p, EX_NE, X, Y); }
expr(A) ::= expr(X) BITAND expr(Y). { A = build_binary(p, EX_BITAND, X, Y); }
expr(A) ::= expr(X) BITOR expr(Y). { A = build_binary(p, EX_BITOR, X, Y); }
expr(A) ::= expr(X) LSHIFT expr(Y). { A = build_binary(p, EX_SHL, X, Y); }
expr(A) ::= expr(X) RSHIFT expr(Y). { A = build_binary(p, EX_SHR, X, Y); }
expr(A) ::= expr(X) VEC_L2 expr(Y). { A = build_binary(p, EX_VEC_L2, X, Y); }
expr(A) ::= expr(X) VEC_COS expr(Y). { A = build_binary(p, EX_VEC_COS, X, Y); }
expr(A) ::= expr(X) VEC_IP expr(Y). { A = build_binary(p, EX_VEC_IP, X, Y); }
expr(A) ::= expr(X) VEC_L1 expr(Y). { A = build_binary(p, EX_VEC_L1, X, Y); }
expr(A) ::= expr(X) PGOP(O) expr(Y). { A = build_named_operator(p, O, X, Y); }
expr(A) ::= expr(X) POWER expr(Y). { A = build_power(p, X, Y); }
expr(A) ::= expr(X) PLUS expr(Y). { A = build_binary(p, EX_ADD, X, Y); }
expr(A) ::= expr(X) MINUS expr(Y). { A = build_binary(p, EX_SUB, X, Y); }
expr(A) ::= expr(X) STAR expr(Y). { A = build_binary(p, EX_MUL, X, Y); }
expr(A) ::= expr(X) SLASH expr(Y). { A = build_binary(p, EX_DIV, X, Y); }
expr(A) ::= expr(X) REM expr(Y). { A = build_binary(p, EX_MOD, X, Y); }
expr(A) ::= expr(X) CONCAT expr(Y). { A = build_binary(p, EX_CONCAT, X, Y); }
expr(A) ::= expr(X) PTR(O) expr(Y). { A = build_binary(p, O.n == 3 ? EX_ARROW2 : EX_ARROW, X, Y); }
likeop(A) ::= LIKE_KW|MATCH(X). { A = (struct like_operator){X, false}; }
likeop(A) ::= NOT LIKE_KW|MATCH(X). { A = (struct like_operator){X, true}; }
expr(A) ::= expr(X) likeop(O) expr(Y). [LIKE_KW] { A = build_like(p, O.name, O.negated, X, Y, NULL); }
expr(A) ::= expr(X) likeop(O) expr(Y) ESCAPE expr(E). [LIKE_KW] { A = build_like(p, O.name, O.negated, X, Y, E); }
expr(A) ::= expr(X) ISNULL|NOTNULL(O). { A = build_postfix(p, O.n == 6 ? EX_ISNULL : EX_NOTNULL, X); }
expr(A) ::= expr(X) NOT NULL. { A = build_postfix(p, EX_NOTNULL, X); }
expr(A) ::= expr(X) IS expr(Y). { A = build_is(p, false, X, Y); }
expr(A) ::= expr(X) IS NOT expr(Y). { A = build_is(p, true, X, Y); }
expr(A) ::= expr(X) IS NOT DISTINCT FROM expr(Y). { A = build_is(p, false, X, Y); }
expr(A) ::= expr(X) IS DISTINCT FROM expr(Y). { A = build_is(p, true, X, Y); }
expr(A) ::= NOT(F) expr(X). { A = build_unary(p, EX_NOT, F, X); }
expr(A) ::= BITNOT(F) expr(X). { A = build_unary(p, EX_BITNOT, F, X); }
expr(A) ::= PLUS(F) expr(X). [BITNOT] { A = build_unary(p, EX_PLUS, F, X); }
expr(A) ::= MINUS(F) expr(X). [BITNOT] { A = build_unary(p, EX_NEG, F, X); }
between_op(A) ::= BETWEEN. { A = 0; }
between_op(A) ::= NOT BETWEEN. { A = 1; }
expr(A) ::= expr(X) between_op(N) expr(L) AND expr(H). [BETWEEN] { A = build_between(p, N, X, L, H); }
in_op(A) ::= IN. { A = 0; }
in_op(A) ::= NOT IN. { A = 1; }
expr(A) ::= expr(X) in_op(N) LP exprlist(Y) RP. [IN] { A = build_in(p, N, X, Y, NULL, NULL); }
expr(A) ::= expr(X) in_op(N) LP select(Y) RP. [IN] { A = build_in(p, N, X, NULL, Y, NULL); }
expr(A) ::= expr(X) in_op(N) nm(Y) dbnm(Z) paren_exprlist(E). [IN] {
  A = build_in(p, N, X, NULL, NULL, build_lone_source(p, Z.p ? Y : Z, Z.p ? Z : Y, E.list, E.is_call));
}
expr(A) ::= LP(F) select(X) RP. { A = build_query(p, EX_SUBQUERY, F, X); }
expr(A) ::= EXISTS(F) LP select(Y) RP. { A = build_query(p, EX_EXISTS, F, Y); }
expr(A) ::= CASE(F) case_operand(X) case_exprlist(Y) case_else(Z) END. { A = build_case(p, F, X, Y, Z); }
case_exprlist(A) ::= case_exprlist(L) WHEN expr(Y) THEN expr(Z). { A = build_list(p, build_list(p, L, Y), Z); }
case_exprlist(A) ::= WHEN expr(Y) THEN expr(Z). { A = build_list(p, build_list(p, NULL, Y), Z); }
case_else(A) ::= ELSE expr(X). { A = X; }
case_else(A) ::= . { A = NULL; }
case_operand(A) ::= expr(A).
case_operand(A) ::= . { A = NULL; }
exprlist(A) ::= nexprlist(A).
exprlist(A) ::= . { A = NULL; }
nexprlist(A) ::= nexprlist(L) COMMA expr(Y). { A = build_list(p, L, Y); }
nexprlist(A) ::= expr(Y). { A = build_list(p, NULL, Y); }
paren_exprlist(A) ::= . { A = (struct call_arguments){NULL, false}; }
paren_exprlist(A) ::= LP exprlist(X) RP. { A = (struct call_arguments){X, true}; }

%type raisetype {int}
expr(A) ::= RAISE(F) LP IGNORE RP. { A = build_raise(p, F, CONFLICT_IGNORE, ALWAYS_NONE); }
expr(A) ::= RAISE(F) LP raisetype(T) COMMA nm(Z) RP. { A = build_raise(p, F, T, Z); }
raisetype(A) ::= ROLLBACK. { A = CONFLICT_ROLLBACK; }
raisetype(A) ::= ABORT. { A = CONFLICT_ABORT; }
raisetype(A) ::= FAIL. { A = CONFLICT_FAIL; }

// ---- CREATE INDEX ----
%type uniqueflag {int}
%type index_options {expr_list *}
%type options {expr_list *}
%type option_value {expr *}
%type method_columns {expr_list *}
cmd ::= createkw uniqueflag(U) INDEX ifnotexists(E) nm(X) dbnm(D) ON nm(Y) LP sortlist(Z) RP where_opt(W). {
  build_create_index(p, U, E, X, D, Y, Z, W, ALWAYS_NONE, NULL);
}
cmd ::= createkw uniqueflag(U) INDEX ifnotexists(E) nm(X) dbnm(D) ON nm(Y) USING nm(M) LP method_columns(Z) RP
        index_options(O) where_opt(W). {
  build_create_index(p, U, E, X, D, Y, Z, W, M, O);
}
uniqueflag(A) ::= UNIQUE. { A = 1; }
uniqueflag(A) ::= . { A = 0; }
// an operator class waits in the item's name until build_create_index takes it out
method_columns(A) ::= method_columns(L) COMMA nm(X) opclass(C) sortorder(D). {
  A = build_sort_term(p, L, build_name(p, X), D > 0, 0);
  if (A && C.p) last_item(A)->name = token_name(p, C);
}
method_columns(A) ::= nm(X) opclass(C) sortorder(D). {
  A = build_sort_term(p, NULL, build_name(p, X), D > 0, 0);
  if (A && C.p) last_item(A)->name = token_name(p, C);
}
opclass(A) ::= . { A = ALWAYS_NONE; }
opclass(A) ::= nm(X). { A = X; }
index_options(A) ::= . { A = NULL; }
index_options(A) ::= WITH LP options(X) RP. { A = X; }
options(A) ::= options(L) COMMA nm(X) EQ option_value(V). {
  A = build_list(p, L, V);
  if (A && V) last_item(A)->name = token_name(p, X);
}
options(A) ::= nm(X) EQ option_value(V). {
  A = build_list(p, NULL, V);
  if (A && V) last_item(A)->name = token_name(p, X);
}
option_value(A) ::= number(X). { A = build_literal(p, 0, X); }
option_value(A) ::= PLUS number(X). { A = build_literal(p, 0, X); }
option_value(A) ::= MINUS(F) number(X). { A = build_unary(p, EX_NEG, F, build_literal(p, 0, X)); }
option_value(A) ::= STRING(X). { A = build_literal(p, TK_STRING, X); }
option_value(A) ::= id(X). { A = build_name(p, X); }
option_value(A) ::= ON|DEFAULT|NULL(X). { A = build_name(p, X); }

eidlist_opt(A) ::= . { A = NULL; }
eidlist_opt(A) ::= LP eidlist(X) RP. { A = X; }
eidlist(A) ::= eidlist(L) COMMA nm(Y) collate(C) sortorder(Z). {
  A = build_names(p, L, Y);
  if ((C || Z != -1) && !p->options->schema_text)
    parse_fail(p, NULL, "syntax error after column name \"%.*s\"", (int)Y.n, (const char *)Y.p);
}
eidlist(A) ::= nm(Y) collate(C) sortorder(Z). {
  A = build_names(p, NULL, Y);
  if ((C || Z != -1) && !p->options->schema_text)
    parse_fail(p, NULL, "syntax error after column name \"%.*s\"", (int)Y.n, (const char *)Y.p);
}
%type collate {int}
collate(A) ::= . { A = 0; }
collate(A) ::= COLLATE ids. { A = 1; }

cmd ::= DROP INDEX ifexists(E) fullname(X). { build_drop(p, ST_DROP_INDEX, E, X); }

// ---- VACUUM, PRAGMA ----
%type vinto {expr *}
cmd ::= VACUUM vinto(Y). {
  statement *s = build_statement(p, ST_VACUUM);
  if (s) s->vacuum.into = Y;
}
cmd ::= VACUUM nm(X) vinto(Y). {
  statement *s = build_statement(p, ST_VACUUM);
  if (s) s->vacuum.schema = token_name(p, X), s->vacuum.into = Y;
}
vinto(A) ::= INTO expr(X). { A = X; }
vinto(A) ::= . { A = NULL; }

%type nmnum {expr *}
cmd ::= PRAGMA nm(X) dbnm(Z). { build_pragma(p, X, Z, NULL, false, false); }
cmd ::= PRAGMA nm(X) dbnm(Z) EQ nmnum(Y). { build_pragma(p, X, Z, Y, false, false); }
cmd ::= PRAGMA nm(X) dbnm(Z) LP nmnum(Y) RP. { build_pragma(p, X, Z, Y, true, false); }
cmd ::= PRAGMA nm(X) dbnm(Z) EQ minus_num(Y). { build_pragma(p, X, Z, build_literal(p, 0, Y), false, true); }
cmd ::= PRAGMA nm(X) dbnm(Z) LP minus_num(Y) RP. { build_pragma(p, X, Z, build_literal(p, 0, Y), true, true); }
nmnum(A) ::= plus_num(X). { A = build_literal(p, 0, X); }
nmnum(A) ::= nm(X). { A = X.n && X.p[0] == '\'' ? build_literal(p, TK_STRING, X) : build_name(p, X); }
nmnum(A) ::= ON(X). { A = build_name(p, X); }
nmnum(A) ::= DELETE(X). { A = build_name(p, X); }
nmnum(A) ::= DEFAULT(X). { A = build_name(p, X); }
plus_num(A) ::= PLUS number(X). { A = X; }
plus_num(A) ::= number(A).
minus_num(A) ::= MINUS number(X). { A = X; }

// ---- CREATE TRIGGER ----
%type trigger_decl {create_trigger_statement *}
%type trigger_cmd_list {create_trigger_statement *}
%type trigger_cmd {statement *}
%type trigger_time {int}
%type trigger_event {struct trigger_event}
%type when_clause {expr *}
%type foreach_clause {int}
%type trnm {qualified_name}
%include {
struct trigger_event {
  uint8_t kind;
  name_list *columns;
};
}
cmd ::= createkw trigger_decl(T) BEGIN trigger_steps END(Z). {
  (void)T;
  end_trigger(p, Z.p + Z.n);
}
trigger_decl(A) ::= trigger_head(T) trigger_time(C) trigger_event(D) ON fullname(E) foreach_clause(F) when_clause(G). {
  A = T;
  if (A) {
    A->time = (uint8_t)C, A->event = D.kind, A->update_of = D.columns, A->table = E;
    A->for_each_row = F, A->when = G;
  }
}
%type trigger_head {create_trigger_statement *}
trigger_head(A) ::= temp(T) TRIGGER ifnotexists(N) nm(B) dbnm(Z). { A = begin_trigger(p, T, N, B, Z); }
trigger_time(A) ::= BEFORE. { A = 1; }
trigger_time(A) ::= AFTER. { A = 2; }
trigger_time(A) ::= INSTEAD OF. { A = 3; }
trigger_time(A) ::= . { A = 0; }
trigger_event(A) ::= DELETE. { A = (struct trigger_event){ST_DELETE, NULL}; }
trigger_event(A) ::= INSERT. { A = (struct trigger_event){ST_INSERT, NULL}; }
trigger_event(A) ::= UPDATE. { A = (struct trigger_event){ST_UPDATE, NULL}; }
trigger_event(A) ::= UPDATE OF idlist(X). { A = (struct trigger_event){ST_UPDATE, X}; }
foreach_clause(A) ::= . { A = 0; }
foreach_clause(A) ::= FOR EACH ROW. { A = 1; }
when_clause(A) ::= . { A = NULL; }
when_clause(A) ::= WHEN expr(X). { A = X; }
trigger_steps ::= trigger_steps trigger_cmd(X) SEMI. { add_trigger_step(p, X); }
trigger_steps ::= trigger_cmd(X) SEMI. { add_trigger_step(p, X); }
trnm(A) ::= nm(X). { A = build_qualified(p, X, ALWAYS_NONE); }
trnm(A) ::= nm(X) DOT nm(Y). {
  A = build_qualified(p, X, Y);
  parse_fail(p, NULL, "qualified table names are not allowed on INSERT, UPDATE, and DELETE statements within triggers");
}
tridxby ::= .
tridxby ::= INDEXED BY nm. {
  parse_fail(p, NULL, "the INDEXED BY clause is not allowed on UPDATE or DELETE statements within triggers");
}
tridxby ::= NOT INDEXED. {
  parse_fail(p, NULL, "the NOT INDEXED clause is not allowed on UPDATE or DELETE statements within triggers");
}
trigger_cmd(A) ::= UPDATE orconf(R) trnm(X) tridxby SET setlist(Y) from(F) where_opt(Z). {
  build_update(p, NULL, R, X, NO_HINT, Y, F, Z, (struct order_limit){0});
  A = p->statement;
}
trigger_cmd(A) ::= insert_cmd(R) INTO trnm(X) idlist_opt(F) select(S) upsert(U). {
  build_insert(p, NULL, R, X, F, S, U);
  A = p->statement;
}
trigger_cmd(A) ::= DELETE FROM trnm(X) tridxby where_opt(Y). {
  build_delete(p, NULL, X, NO_HINT, Y, (struct order_limit){0});
  A = p->statement;
}
trigger_cmd(A) ::= select(X). {
  A = build_statement(p, ST_SELECT);
  if (A) A->select = X;
}
cmd ::= DROP TRIGGER ifexists(E) fullname(X). { build_drop(p, ST_DROP_TRIGGER, E, X); }

// ---- ATTACH, REINDEX, ANALYZE, ALTER ----
%type key_opt {expr *}
cmd ::= ATTACH database_kw_opt expr(F) AS expr(D) key_opt(K). {
  statement *s = build_statement(p, ST_ATTACH);
  if (s) s->attach.file = F, s->attach.name = D, s->attach.key = K;
}
cmd ::= DETACH database_kw_opt expr(D). {
  statement *s = build_statement(p, ST_DETACH);
  if (s) s->attach.name = D;
}
key_opt(A) ::= . { A = NULL; }
key_opt(A) ::= KEY expr(X). { A = X; }
database_kw_opt ::= DATABASE.
database_kw_opt ::= .
cmd ::= REINDEX. { build_statement(p, ST_REINDEX); }
cmd ::= REINDEX nm(X) dbnm(Y). {
  statement *s = build_statement(p, ST_REINDEX);
  if (s) s->name = build_qualified(p, X, Y);
}
cmd ::= ANALYZE. { build_statement(p, ST_ANALYZE); }
cmd ::= ANALYZE nm(X) dbnm(Y). {
  statement *s = build_statement(p, ST_ANALYZE);
  if (s) s->name = build_qualified(p, X, Y);
}
cmd ::= ALTER TABLE fullname(X) RENAME TO nm(Z). {
  alter_statement *a = build_alter(p, ST_ALTER_RENAME_TABLE, X);
  if (a) a->new_name = token_name(p, Z), a->new_name_quoted = token_is_quoted(Z);
}
cmd ::= alter_add carglist. { end_column(p); }
alter_add ::= ALTER TABLE fullname(X) ADD kwcolumn_opt nm(N) typetoken(T). {
  build_alter(p, ST_ALTER_ADD_COLUMN, X);
  begin_column(p, N, T);
}
cmd ::= ALTER TABLE fullname(X) DROP kwcolumn_opt nm(Y). {
  alter_statement *a = build_alter(p, ST_ALTER_DROP_COLUMN, X);
  if (a) a->column = token_name(p, Y), a->column_offset = offset_of(p, Y.p);
}
cmd ::= ALTER TABLE fullname(X) RENAME kwcolumn_opt nm(Y) TO nm(Z). {
  alter_statement *a = build_alter(p, ST_ALTER_RENAME_COLUMN, X);
  if (a) {
    a->column = token_name(p, Y), a->column_offset = offset_of(p, Y.p);
    a->new_name = token_name(p, Z), a->new_name_quoted = token_is_quoted(Z);
  }
}
kwcolumn_opt ::= .
kwcolumn_opt ::= COLUMNKW.
%include {
static bool token_is_quoted(token t) {
  return t.n && (t.p[0] == '"' || t.p[0] == '\'' || t.p[0] == '`' || t.p[0] == '[');
}
}

// ---- CREATE VIRTUAL TABLE ----
cmd ::= create_vtab. { end_virtual_table(p, NULL); }
cmd ::= create_vtab LP vtabarglist RP(X). { end_virtual_table(p, X.p + X.n); }
create_vtab ::= createkw VIRTUAL TABLE ifnotexists(E) nm(X) dbnm(Y) USING nm(Z). { begin_virtual_table(p, E, X, Y, Z); }
vtabarglist ::= vtabarg.
vtabarglist ::= vtabarglist COMMA vtabarg.
vtabarg ::= . { end_virtual_argument(p); }
vtabarg ::= vtabarg vtabargtoken.
vtabargtoken ::= ANY(X). { virtual_token(p, X); }
vtabargtoken ::= lp anylist RP(X). { virtual_token(p, X); }
lp ::= LP(X). { virtual_token(p, X); }
anylist ::= .
anylist ::= anylist LP anylist RP.
anylist ::= anylist ANY.
%include {
static void virtual_token(parser *p, token t) {
  if (p->argument.p)
    p->argument = token_to(p->argument, t.p + t.n);
  else
    p->argument = t;
}
}

// ---- WITH ----
%type wqas {int}
with(A) ::= . { A = NULL; }
with(A) ::= WITH wqlist(W). { A = W; }
with(A) ::= WITH RECURSIVE wqlist(W). {
  A = W;
  if (A) A->recursive = true;
}
wqas(A) ::= AS. { A = CTE_ANY; }
wqas(A) ::= AS MATERIALIZED. { A = CTE_MATERIALIZED; }
wqas(A) ::= AS NOT MATERIALIZED. { A = CTE_NOT_MATERIALIZED; }
wqlist(A) ::= nm(X) eidlist_opt(Y) wqas(M) LP select(Z) RP. { A = build_with(p, NULL, X, Y, M, Z); }
wqlist(A) ::= wqlist(L) COMMA nm(X) eidlist_opt(Y) wqas(M) LP select(Z) RP. { A = build_with(p, L, X, Y, M, Z); }

// ---- window functions ----
%type windowdefn_list {window *}
%type windowdefn {window *}
%type window {window *}
%type frame_opt {window *}
%type filter_clause {expr *}
%type over_clause {window *}
%type filter_over {struct filter_over}
%type range_or_rows {int}
%type frame_bound {struct frame_side}
%type frame_bound_s {struct frame_side}
%type frame_bound_e {struct frame_side}
%type frame_exclude_opt {int}
%type frame_exclude {int}
%type window_clause {window *}
windowdefn_list(A) ::= windowdefn(A).
windowdefn_list(A) ::= windowdefn_list(Y) COMMA windowdefn(Z). {
  A = Z;
  if (Z) Z->next = Y;
}
windowdefn(A) ::= nm(X) AS LP window(Y) RP. {
  A = Y;
  if (A) A->name = token_name(p, X);
}
window(A) ::= PARTITION(F) BY nexprlist(X) orderby_opt(Y) frame_opt(Z). {
  A = build_window(p, F, ALWAYS_NONE, X, Y, Z);
}
window(A) ::= nm(W) PARTITION BY nexprlist(X) orderby_opt(Y) frame_opt(Z). { A = build_window(p, W, W, X, Y, Z); }
window(A) ::= ORDER(F) BY sortlist(Y) frame_opt(Z). { A = build_window(p, F, ALWAYS_NONE, NULL, build_order(p, Y), Z); }
window(A) ::= nm(W) ORDER BY sortlist(Y) frame_opt(Z). { A = build_window(p, W, W, NULL, build_order(p, Y), Z); }
window(A) ::= frame_opt(Z). { A = build_window(p, p->last, ALWAYS_NONE, NULL, NULL, Z); }
window(A) ::= nm(W) frame_opt(Z). { A = build_window(p, W, W, NULL, NULL, Z); }
frame_opt(A) ::= . { A = NULL; }
frame_opt(A) ::= range_or_rows(X) frame_bound_s(Y) frame_exclude_opt(Z). {
  A = build_frame(p, (uint8_t)X, Y, (struct frame_side){BOUND_CURRENT, NULL}, (uint8_t)Z);
}
frame_opt(A) ::= range_or_rows(X) BETWEEN frame_bound_s(Y) AND frame_bound_e(Z) frame_exclude_opt(W). {
  A = build_frame(p, (uint8_t)X, Y, Z, (uint8_t)W);
}
range_or_rows(A) ::= RANGE. { A = FRAME_RANGE; }
range_or_rows(A) ::= ROWS. { A = FRAME_ROWS; }
range_or_rows(A) ::= GROUPS. { A = FRAME_GROUPS; }
frame_bound_s(A) ::= frame_bound(A).
frame_bound_s(A) ::= UNBOUNDED PRECEDING. { A = (struct frame_side){BOUND_UNBOUNDED_PRECEDING, NULL}; }
frame_bound_e(A) ::= frame_bound(A).
frame_bound_e(A) ::= UNBOUNDED FOLLOWING. { A = (struct frame_side){BOUND_UNBOUNDED_FOLLOWING, NULL}; }
frame_bound(A) ::= expr(X) PRECEDING. { A = (struct frame_side){BOUND_PRECEDING, X}; }
frame_bound(A) ::= expr(X) FOLLOWING. { A = (struct frame_side){BOUND_FOLLOWING, X}; }
frame_bound(A) ::= CURRENT ROW. { A = (struct frame_side){BOUND_CURRENT, NULL}; }
frame_exclude_opt(A) ::= . { A = EXCLUDE_NONE; }
frame_exclude_opt(A) ::= EXCLUDE frame_exclude(X). { A = X; }
frame_exclude(A) ::= NO OTHERS. { A = EXCLUDE_NO_OTHERS; }
frame_exclude(A) ::= CURRENT ROW. { A = EXCLUDE_CURRENT; }
frame_exclude(A) ::= GROUP. { A = EXCLUDE_GROUP; }
frame_exclude(A) ::= TIES. { A = EXCLUDE_TIES; }
window_clause(A) ::= WINDOW windowdefn_list(B). { A = B; }
filter_over(A) ::= filter_clause(F) over_clause(O). { A = (struct filter_over){F, O}; }
filter_over(A) ::= over_clause(O). { A = (struct filter_over){NULL, O}; }
filter_over(A) ::= filter_clause(F). { A = (struct filter_over){F, NULL}; }
over_clause(A) ::= OVER LP window(Z) RP. { A = Z; }
over_clause(A) ::= OVER nm(Z). {
  A = build_window(p, Z, Z, NULL, NULL, NULL);
  if (A) A->is_reference = true;
}
filter_clause(A) ::= FILTER LP WHERE expr(X) RP. { A = X; }

// ---- branches, erasure ----
cmd ::= createkw BRANCH ifnotexists(E) nm(X) branch_from(F) branch_time(T). {
  branch_statement *b = build_branch(p, ST_CREATE_BRANCH, X);
  if (b) {
    b->if_exists = E, b->time = T.kind, b->time_value = T.from;
    b->from_current = F.p && token_is(F, "current");
    if (F.p && !b->from_current) b->from = token_name(p, F);
  }
}
%type branch_time {struct table_time}
branch_from(A) ::= . { A = ALWAYS_NONE; }
branch_from(A) ::= FROM nm(X). { A = X; }
branch_time(A) ::= . { A = NO_TIME; }
branch_time(A) ::= as_of(A).
cmd ::= DROP BRANCH ifexists(E) nm(X). {
  branch_statement *b = build_branch(p, ST_DROP_BRANCH, X);
  if (b) b->if_exists = E;
}
cmd ::= USE_BRANCH nm(X). { build_branch(p, ST_USE_BRANCH, X); }
cmd ::= SHOW_BRANCHES. { build_statement(p, ST_SHOW_BRANCHES); }
cmd ::= MERGE_BRANCH nm(X) INTO nm(Y) index_options(O). {
  branch_statement *b = build_branch(p, ST_MERGE_BRANCH, X);
  if (b) b->from = token_name(p, Y), b->options = O;
}
cmd ::= ERASE_FROM fullname(X) where_opt(W). {
  build_delete(p, NULL, X, NO_HINT, W, (struct order_limit){0});
  if (p->statement) p->statement->erase = p->statement->delete_, p->statement->kind = ST_ERASE;
}

%code {
bool lex_falls_back(int code) { return code == TK_ID || grammar_feedFallback(code) == TK_ID; }

/* Feeds tokens until one statement is built, the text ends or something is wrong; *at moves behind the last token. */
static void run(parser *p, int first_code, size_t *at) {
  yyParser automaton;
  grammar_feedInit(&automaton, p);
  p->last_code = -1;
  if (first_code) grammar_feed(&automaton, first_code, ALWAYS_NONE);
  while (p->rc == HDB_OK && !p->done) {
    token t;
    int code = lex_next(p->text, at, p->last_code, p->options->dialect, &t);
    if (code == LEX_ILLEGAL) {
      parse_fail(p, t.p, "unrecognized token: \"%.*s\"", (int)t.n, (const char *)t.p);
      break;
    }
    if (code == 0) {
      if (p->last_code == 0) break;
      code = p->last_code == TK_SEMI ? 0 : TK_SEMI;
    }
    p->last = t;
    if (!p->first && code != TK_SEMI) p->first = t.p;
    grammar_feed(&automaton, code, t);
    p->last_code = code;
    p->end = t.p + t.n;
  }
  grammar_feedFinalize(&automaton);
  if (p->rc == HDB_OK && p->memory->failed) p->rc = error_set(p->err, HDB_NOMEM, "out of memory");
}

static const parse_options default_options = {0};

status grammar_parse(slice text, const parse_options *options, arena *memory, statement **out, size_t *tail, error *err) {
  parser p = {.options = options ? options : &default_options, .memory = memory, .text = text, .err = err, .late_offset = -1};
  size_t at = 0;
  *out = NULL;
  if (text.n > INT32_MAX - 1) return error_set(err, HDB_TOOBIG, "string or blob too big");
  run(&p, 0, &at);
  if (tail) *tail = at;
  if (p.rc != HDB_OK) return p.rc;
  *out = p.done ? p.statement : NULL;
  return HDB_OK;
}

status grammar_parse_expr(slice text, const parse_options *options, arena *memory, expr **out, error *err) {
  parser p = {.options = options ? options : &default_options, .memory = memory, .text = text, .err = err, .late_offset = -1};
  size_t at = 0;
  *out = NULL;
  if (text.n > INT32_MAX - 1) return error_set(err, HDB_TOOBIG, "string or blob too big");
  run(&p, TK_LONE_EXPRESSION, &at);
  if (p.rc == HDB_OK && p.late) parse_fail(&p, p.late_offset < 0 ? NULL : text.p + p.late_offset, "%s", p.late);
  if (p.rc == HDB_OK && !p.lone) parse_syntax_error(&p, p.last);
  if (p.rc != HDB_OK) return p.rc;
  *out = p.lone;
  return HDB_OK;
}
}
