"""Scripts for fuzz_sql.py: script_of(seed) gives (steps, whether stock SQLite must give the same)."""
import glob
import os
import random
import re

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = sorted(glob.glob(os.path.join(os.path.dirname(HERE), "sql", "*.test")))
TOKEN = re.compile(r"\s+|'(?:[^']|'')*'|\"[^\"]*\"|[A-Za-z_][A-Za-z_0-9]*|\d+(?:\.\d+)?|<=|>=|<>|!=|\|\||<<|>>|->>|->|==|.", re.S)

VALUES = ["null", "0", "1", "-1", "2", "3", "10", "1.5", "-0.0", "1e308", "1e400", "-1e400", "9223372036854775807", "-9223372036854775808",
          "9223372036854775808", "0x7fffffffffffffff", "''", "'a'", "'abc'", "'A'", "'1'", "' 12 '", "'1e3'", "'0x10'", "x''", "x'00'", "x'616263'",
          "x'ff'", "'é'", "'a'||char(0)||'b'", "true", "false", "'[1,2,{\"a\":3}]'", "'{\"a\":[1,null,2.5]}'", "1e-320", "4503599627370496.5"]
TYPES = ["", "integer", "text", "real", "blob", "numeric", "any", "varchar(10)", "int", "floating point", "datetime"]
COLLATIONS = ["binary", "nocase", "rtrim"]
BINARY = ["+", "-", "*", "/", "%", "||", "<", "<=", ">", ">=", "=", "==", "<>", "!=", "is", "is not", "and", "or", "&", "|", "<<", ">>",
          "like", "glob", "is distinct from", "is not distinct from", "->", "->>"]
FUNCTIONS = {"abs": 1, "length": 1, "lower": 1, "upper": 1, "typeof": 1, "hex": 1, "quote": 1, "coalesce": 2, "ifnull": 2, "nullif": 2, "substr": 3,
             "replace": 3, "instr": 2, "trim": 1, "ltrim": 2, "round": 2, "unicode": 1, "char": 2, "printf": 2, "zeroblob": 1, "max": 2, "min": 2,
             "iif": 3, "sign": 1, "likely": 1, "date": 2, "julianday": 1, "strftime": 2, "json": 1, "json_extract": 2, "json_type": 1, "json_array": 2,
             "json_object": 2, "json_valid": 1, "json_set": 3, "json_patch": 2, "json_quote": 1, "like": 2, "glob": 2, "soundex": 1}
AGGREGATES = ["count", "sum", "total", "avg", "min", "max", "group_concat", "json_group_array"]
WINDOWS = ["row_number()", "rank()", "dense_rank()", "percent_rank()", "cume_dist()", "ntile(%s)", "lag(%s,%s,%s)", "lead(%s,%s)", "first_value(%s)",
           "last_value(%s)", "nth_value(%s,%s)"]
PATHS = ["'$'", "'$.a'", "'$[0]'", "'$.a[#-1]'", "'$[99999999999]'", "'a'", "'$.\"a'", "'$..a'"]


class Gen:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.tables, self.counter, self.views = {}, 0, []

    def pick(self, items):
        return self.r.choice(list(items))

    def chance(self, p):
        return self.r.random() < p

    def name(self, prefix):
        self.counter += 1
        return "%s%d" % (prefix, self.counter)

    def value(self):
        if self.chance(0.5):
            return str(self.r.randrange(-3, 12))
        return self.pick(VALUES)

    def table(self):
        return self.pick(self.tables) if self.tables else "sqlite_master"

    def columns(self, table):
        return self.tables.get(table, ["name", "type"])

    # scope: a list of (alias, columns)
    def column(self, scope):
        if not scope:
            return self.value()
        alias, columns = self.pick(scope)
        column = self.pick(columns)
        if self.chance(0.05):
            column = "rowid"
        return "%s.%s" % (alias, column) if self.chance(0.7) or len(scope) > 1 else column

    def expr(self, scope, depth=3, aggregate=False):
        r = self.r.random()
        if depth <= 0 or r < 0.22:
            return self.column(scope) if self.chance(0.65) else self.value()
        e = lambda: self.expr(scope, depth - 1, aggregate)
        if r < 0.50:
            return "(%s %s %s)" % (e(), self.pick(BINARY), e())
        if r < 0.55:
            return "%s(%s)" % (self.pick(["-", "+", "~", "not "]), e())
        if r < 0.68:
            name = self.pick(FUNCTIONS)
            args = [e() for _ in range(FUNCTIONS[name])]
            if name in ("json_extract", "json_set"):
                args[1] = self.pick(PATHS)
            if name == "zeroblob":
                args = [str(self.pick([0, 1, 5, -1]))]
            if name == "printf":
                args[0] = self.pick(["'%d'", "'%5.2f'", "'%s'", "'%q'", "'%-10s|'", "'%x'", "'%.3e'", "'%c'", "'%%'", "'%w'", "'%,d'", "'%*d'", "'%!.20g'"])
            if name in ("date", "strftime", "julianday"):
                args[-1] = self.pick(["'2020-02-30'", "'+1 month'", "'2000-01-01 12:00'", "'-1 day'", "2459000.5", "'weekday 0'", e()])
            if name == "strftime":
                args[0] = self.pick(["'%Y-%m-%d'", "'%j %W %s'", "'%f'", "'%J'", "'%q'"])
            return "%s(%s)" % (name, ",".join(args))
        if r < 0.73:
            return "case %s when %s then %s else %s end" % (e() if self.chance(0.5) else "", e(), e(), e())
        if r < 0.77:
            return "cast(%s as %s)" % (e(), self.pick([t for t in TYPES if t]))
        if r < 0.80:
            return "(%s %sbetween %s and %s)" % (e(), self.pick(["", "not "]), e(), e())
        if r < 0.84:
            return "(%s %sin (%s))" % (e(), self.pick(["", "not "]), ",".join(e() for _ in range(self.r.randrange(0, 4))))
        if r < 0.87:
            return "(%s collate %s)" % (e(), self.pick(COLLATIONS))
        if r < 0.90:
            return "(%s %s)" % (e(), self.pick(["isnull", "notnull", "is null", "is true", "is not false"]))
        if r < 0.92:
            return "((%s,%s) %s (%s,%s))" % (e(), e(), self.pick(["=", "<", ">=", "is", "<>"]), e(), e())
        if depth >= 2 and self.tables:
            if r < 0.94:
                return "exists(%s)" % self.select(depth - 2, scope, limit=True)
            if r < 0.96:
                return "(%s in (%s))" % (e(), self.select(depth - 2, scope, width=1))
            return "(%s)" % self.select(depth - 2, scope, width=1, limit=True)
        return self.column(scope)

    def source(self, depth, outer):
        """(text, alias, columns)"""
        alias = self.name("q")
        r = self.r.random()
        if depth > 0 and r < 0.2:
            width = self.r.randrange(1, 4)
            columns = ["c%d" % i for i in range(width)]
            return "(%s) as %s" % (self.select(depth - 1, [], width=width, names=columns), alias), alias, columns
        if r < 0.25:
            return "json_each('[1,2,\"x\",null]') as %s" % alias, alias, ["value", "key", "type"]
        table = self.pick(self.views) if self.views and r < 0.4 else self.table()
        hint = ""
        return "%s as %s%s" % (table, alias, hint), alias, self.columns(table)

    def window(self, scope):
        function = self.pick(WINDOWS + ["sum(%s)", "count(*)", "group_concat(%s)", "max(%s)", "total(%s)"])
        while "%s" in function:
            function = function.replace("%s", self.pick([self.column(scope), self.value(), "1"]), 1)
        parts = []
        if self.chance(0.5):
            parts.append("partition by " + self.expr(scope, 1))
        ordered = self.chance(0.8)
        if ordered:
            parts.append("order by %s%s" % (self.expr(scope, 1), self.pick(["", " desc", " nulls last", " collate nocase"])))
        if self.chance(0.6):
            bound = lambda: self.pick(["0", "1", "2", "5", "9223372036854775807", "1.5", "-1", "null", "'1'", "1e300"])
            start = self.pick(["unbounded preceding", "%s preceding" % bound(), "current row", "%s following" % bound()])
            end = self.pick(["unbounded following", "%s preceding" % bound(), "current row", "%s following" % bound()])
            parts.append("%s between %s and %s %s" % (self.pick(["rows", "range", "groups"]), start, end,
                                                      self.pick(["", "exclude current row", "exclude group", "exclude ties", "exclude no others"])))
        where = " filter (where %s)" % self.expr(scope, 1) if self.chance(0.1) else ""
        return "%s%s over (%s)" % (function, where, " ".join(parts))

    def select(self, depth=2, outer=(), width=None, names=None, limit=False, ordered=False):
        width = width or self.r.randrange(1, 4)
        if self.chance(0.08):
            return "values " + ",".join("(%s)" % ",".join(self.value() for _ in range(width)) for _ in range(self.r.randrange(1, 4))) if not names else \
                "select " + ",".join("%s as %s" % (self.value(), n) for n in names)
        scope, sources = [], []
        for i in range(self.pick([1, 1, 1, 2, 2, 3]) if depth > 0 else 1):
            text, alias, columns = self.source(depth, outer)
            if i:
                join = self.pick([" join ", ", ", " left join ", " cross join ", " right join ", " full join "])
                scope_here = scope + [(alias, columns)]
                text = join + text + (" on " + self.expr(scope_here, 2) if join not in (", ", " cross join ") or self.chance(0.2) else "")
            sources.append(text)
            scope.append((alias, columns))
        inner = scope + list(outer)[:1]
        mode = self.r.random()
        group = ""
        if mode < 0.25:
            items = ["%s(%s%s)" % (self.pick(AGGREGATES), self.pick(["", "", "distinct "]), self.expr(inner, 1)) for _ in range(width)]
            if self.chance(0.6):
                key = self.expr(scope, 1)
                items[0] = key
                group = " group by " + key + (" having " + self.pick(AGGREGATES[:6]) + "(%s) > 1" % self.expr(scope, 1) if self.chance(0.3) else "")
        elif mode < 0.45:
            items = [self.window(scope) if self.chance(0.5) else self.expr(inner, 1) for _ in range(width)]
        else:
            items = [self.expr(inner, depth + 1) for _ in range(width)]
        if names:
            items = ["%s as %s" % pair for pair in zip(items, names)]
        text = "select %s%s from %s" % ("distinct " if self.chance(0.15) else "", ", ".join(items), "".join(sources))
        if self.chance(0.6):
            text += " where " + self.expr(inner, 2)
        text += group
        if self.chance(0.12) and depth > 0:
            text += " %s %s" % (self.pick(["union", "union all", "intersect", "except"]), self.select(0, outer, width=width))
            if self.chance(0.5) or ordered:
                text += " order by " + ",".join(str(i + 1) + self.pick(["", " desc"]) for i in range(width))
        elif self.chance(0.4) or ordered:
            text += " order by " + ", ".join([self.expr(scope, 1)] if self.chance(0.4) else [str(i + 1) + self.pick(["", " desc", " nulls last"]) for i in range(width)])
        if limit or self.chance(0.15):
            text += " limit " + self.pick(["1", "2", "0", "5", "-1", "9223372036854775807"]) + self.pick(["", "", " offset 1", " offset -5", " offset 9223372036854775807"])
        return text

    def create_table(self):
        table = self.name("t")
        columns = ["a", "b", "c", "d"][:self.r.randrange(1, 5)]
        without = self.chance(0.2)
        strict = self.chance(0.1)
        pieces, key = [], False
        for i, column in enumerate(columns):
            piece = column + " " + (self.pick(["integer", "text", "real", "blob", "any", "int"]) if strict else self.pick(TYPES))
            if not key and (without or self.chance(0.3)):
                piece += " primary key" + self.pick(["", " desc", " on conflict replace"])
                key = True
            elif self.chance(0.15):
                piece += " unique"
            if self.chance(0.1):
                piece += " not null" + self.pick([" default 5", " on conflict ignore", ""])
            elif self.chance(0.15):
                piece += " default " + self.pick(["7", "'x'", "null", "(1+1)", "-3", "x'01'"])
            if self.chance(0.15):
                piece += " collate " + self.pick(COLLATIONS)
            if self.chance(0.08):
                piece += " check (%s <> 3)" % column
            if self.chance(0.08) and i and columns[0] != column:
                piece += " generated always as (%s) %s" % (self.expr([(table, columns[:1])], 1).replace(table + ".", ""), self.pick(["stored", "virtual"]))
            if self.chance(0.06) and self.tables:
                piece += " references %s %s" % (self.table(), self.pick(["", "on delete cascade", "on update set null", "deferrable initially deferred"]))
            pieces.append(piece)
        if self.chance(0.1):
            pieces.append("unique (%s)" % ",".join(columns[:2]))
        options = ([] if not without else ["without rowid"]) + (["strict"] if strict else [])
        self.tables[table] = columns
        return "create %stable %s(%s) %s" % (self.pick(["", "", "", "temp "]), table, ", ".join(pieces), ", ".join(options))

    def insert(self):
        table = self.table()
        columns = self.columns(table)
        if self.chance(0.15):
            body = self.select(1, width=len(columns), limit=True)
        elif self.chance(0.05):
            return "insert into %s default values" % table
        else:
            body = "values " + ",".join("(%s)" % ",".join(self.value() if self.chance(0.9) else self.expr([], 2) for _ in columns) for _ in range(self.r.randrange(1, 8)))
        text = "insert %sinto %s(%s) %s" % (self.pick(["", "", "or ignore ", "or replace ", "or fail ", "or rollback "]), table, ",".join(columns), body)
        if self.chance(0.1):
            text += (" where true" if body.startswith("select") and " where " not in body and 0 else "") + " on conflict do " + self.pick(
                ["nothing", "update set %s=%s" % (columns[-1], self.pick(["excluded." + columns[-1], "1"]))])
        if self.chance(0.1):
            text += " returning " + self.pick(["*", columns[0], "rowid"])
        return text

    def update(self):
        table = self.table()
        columns = self.columns(table)
        scope = [(table, columns)]
        text = "update %s%s set %s" % (self.pick(["", "", "or ignore ", "or replace "]), table,
                                        ",".join("%s=%s" % (c, self.expr(scope, 2)) for c in self.r.sample(columns, self.r.randrange(1, len(columns) + 1))))
        if self.chance(0.1) and len(self.tables) > 1:
            other = self.name("q")
            text += " from %s as %s" % (self.table(), other)
        if self.chance(0.8):
            text += " where " + self.expr(scope, 2)
        return text + (" returning *" if self.chance(0.1) else "")

    def delete(self):
        table = self.table()
        return "delete from %s" % table + (" where " + self.expr([(table, self.columns(table))], 2) if self.chance(0.9) else "")

    def index(self):
        table = self.table()
        columns = self.columns(table)
        parts = [self.pick([self.pick(columns), self.pick(columns) + " collate " + self.pick(COLLATIONS), self.pick(columns) + " desc",
                            "(%s)" % self.expr([(table, columns)], 1).replace(table + ".", "")]) for _ in range(self.r.randrange(1, 3))]
        return "create %sindex %s on %s(%s)%s" % (self.pick(["", "", "", "unique "]), self.name("i"), table, ",".join(parts),
                                                  " where %s is not null" % self.pick(columns) if self.chance(0.2) else "")

    def view(self):
        view = self.name("v")
        width = self.r.randrange(1, 4)
        columns = ["c%d" % i for i in range(width)]
        text = "create view %s as %s" % (view, self.select(1, width=width, names=columns))
        self.views.append(view)
        self.tables_of_views = getattr(self, "tables_of_views", {})
        self.tables[view] = columns
        return text

    def trigger(self):
        table, target = self.table(), self.table()
        columns, other = self.columns(table), self.columns(target)
        event = self.pick(["insert", "update", "delete", "update of " + self.pick(columns)])
        when = "instead of" if table in self.views else self.pick(["before", "after"])
        row = "new" if event != "delete" else "old"
        values = ",".join("%s.%s" % (row, self.pick(columns)) for _ in other)
        body = self.pick(["insert into %s(%s) values(%s);" % (target, ",".join(other), values),
                          "update %s set %s=%s.%s where %s is %s.%s;" % (target, other[0], row, columns[0], other[-1], row, columns[-1]),
                          "delete from %s where %s=%s.%s;" % (target, other[0], row, columns[0]),
                          "select raise(%s);" % self.pick(["ignore", "abort,'no'", "rollback,'back'", "fail,'f'"])])
        condition = " when %s.%s > %s" % (row, columns[0], self.value()) if self.chance(0.5) else ""
        return "create trigger %s %s %s on %s%s begin %s end" % (self.name("g"), when, event, table, condition, body)

    def alter(self):
        table = self.table()
        columns = self.columns(table)
        r = self.r.random()
        if r < 0.3:
            new = self.name("t")
            self.tables[new] = self.tables.pop(table, ["a"])
            return "alter table %s rename to %s" % (table, new)
        if r < 0.55:
            old = self.pick(columns)
            new = self.name("x")
            self.tables[table] = [new if c == old else c for c in columns]
            return "alter table %s rename %s to %s" % (table, old, new)
        if r < 0.8:
            new = self.name("y")
            self.tables[table] = columns + [new]
            return "alter table %s add column %s %s" % (table, new, self.pick(["", "integer default 5", "text collate nocase", "not null default 'q'", "unique",
                                                                              "as (%s+1)" % columns[0], "check (1)", "references t1", "primary key", "default (random())"]))
        old = self.pick(columns)
        if len(columns) > 1:
            self.tables[table] = [c for c in columns if c != old]
        return "alter table %s drop column %s" % (table, old)

    def cte(self):
        return self.pick([
            "with recursive n(i) as (select 1 union all select i+1 from n where i<%d) select count(*), sum(i) from n" % self.r.randrange(1, 200),
            "with recursive n(i) as (select 1 union select (i*7)%%%d from n) select * from n order by %s limit 50" % (self.r.randrange(2, 50), self.pick(["i", "i desc", "1"])),
            "with recursive f(a,b) as (values(0,1) union all select b,a+b from f limit %d) select * from f" % self.r.randrange(0, 100),
            "with recursive x(i) as (select 1 union all select i+1 from x order by 1 desc limit 20 offset %d) select * from x" % self.r.randrange(0, 5),
            "with recursive a(i) as (select 1 union all select i+1 from b where i<9), b(i) as (select i from a) select * from b",
            "with recursive a(i) as (select i from a union all select 1) select * from a limit 3",
            "with recursive a(i) as (values(1) union all select i+1 from a where i<5 union all select i+10 from a where i<5) select * from a",
            "with a as materialized (%s), b as not materialized (%s) select * from a, b limit 20" % (self.select(1), self.select(1)),
            "with t1 as (%s) select * from t1" % self.select(1)])

    def transaction(self):
        return self.pick(["begin", "commit", "rollback", "savepoint s", "release s", "rollback to s", "savepoint s2", "rollback to s2", "begin immediate", "end",
                          "release s2"])

    def pragma(self):
        return self.pick(["pragma foreign_keys=on", "pragma recursive_triggers=on", "pragma foreign_keys=off", "pragma table_info(%s)" % self.table(),
                          "pragma table_xinfo(%s)" % self.table(), "pragma index_list(%s)" % self.table(), "pragma foreign_key_check", "pragma integrity_check",
                          "pragma user_version=%d" % self.r.randrange(-9, 99), "pragma user_version", "pragma case_sensitive_like=%d" % self.r.randrange(2),
                          "pragma foreign_key_list(%s)" % self.table(), "pragma reverse_unordered_selects=0", "reindex", "analyze", "vacuum",
                          "pragma defer_foreign_keys=1", "pragma table_list(%s)" % self.table()])

    def statement(self):
        r = self.r.random()
        if r < 0.04 or len(self.tables) < 2:
            return self.create_table()
        for limit, make in ((0.25, self.insert), (0.32, self.update), (0.36, self.delete), (0.41, self.index), (0.44, self.view), (0.49, self.trigger),
                            (0.53, self.alter), (0.56, self.cte), (0.61, self.transaction), (0.64, self.pragma)):
            if r < limit:
                return make()
        if r < 0.66:
            return "drop %s %s" % (self.pick(["table", "view", "index if exists", "trigger if exists"]), self.pick(list(self.tables) + ["i%d" % self.counter, "g3"]))
        if r < 0.68:
            return "create table %s as %s" % (self.new_table_as(), self.select(1, width=2, names=["a", "b"]))
        return self.select(2, ordered=self.chance(0.7))

    def new_table_as(self):
        name = self.name("t")
        self.tables[name] = ["a", "b"]
        return name


_statements = {}


def corpus_file(path):
    if path not in _statements:
        text = open(path, encoding="utf-8").read()
        _statements[path] = [line.rstrip() for line in text.split("\n") if line.strip()]
    return _statements[path]


def mutate(g, text, pool):
    tokens = TOKEN.findall(text)
    if not tokens:
        return text
    for _ in range(g.pick([1, 1, 1, 2, 3])):
        i = g.r.randrange(len(tokens))
        r = g.r.random()
        if r < 0.3:
            other = TOKEN.findall(g.pick(pool))
            tokens[i] = g.pick(other) if other else ""
        elif r < 0.5:
            tokens[i] = " " + g.value() + " "
        elif r < 0.6:
            del tokens[i]
            if not tokens:
                return ""
        elif r < 0.7:
            j = g.r.randrange(len(tokens))
            tokens[i], tokens[j] = tokens[j], tokens[i]
        elif r < 0.8:
            tokens.insert(i, tokens[g.r.randrange(len(tokens))])
        elif r < 0.9:
            tokens[i] = " " + g.expr([], 2) + " "
        else:
            tokens[i:i] = TOKEN.findall(g.pick(pool))[:g.r.randrange(1, 8)]
    return "".join(tokens)


def corpus(g):
    path = g.pick(CORPUS)
    lines = corpus_file(path)
    steps = []
    for line in lines[:80]:
        if g.chance(0.05):
            continue
        text = mutate(g, line, lines) if g.chance(0.35) else line
        if re.search(r"attach|vacuum|into\s+'", text, re.I):
            continue
        steps.append(("sql", 0, text))
    return steps, True


def generated(g):
    return [("sql", 0, g.statement()) for _ in range(45)], True


def filed(g):
    return [("sql", 1, g.statement()) for _ in range(45)], True


def hostile(g):
    n = g.pick([50, 99, 500, 999, 1001, 5000, 100000])
    many = g.pick([100, 1999, 2001, 32766, 40000])
    cases = [
        "select " + "(" * n + "1" + ")" * n, "select " + "-" * 0 + "- " * n + "1", "select " + "not " * n + "1", "select " + "1+" * n + "1",
        "select " + "1||" * n + "1", "select " + "abs(" * n + "1" + ")" * n, "select " + "case when 1 then " * n + "1" + " end" * n,
        "select " + "(select " * n + "1" + ")" * n, "select * from " + "(select * from " * n + "(select 1)" + ")" * n,
        "select " + ",".join(["1"] * many), "values " + ",".join(["(1)"] * many), "select 1 " + "union all select 1 " * many,
        "select 1 " + "union select 1 " * min(n, 1200), "select 1 in (" + ",".join(["1"] * many) + ")", "select max(" + ",".join(["1"] * g.pick([100, 127, 128, 1001])) + ")",
        "create table big(" + ",".join("c%d" % i for i in range(many)) + ")", "select '" + "x" * g.pick([10000, 3000000]) + "'", "select x'" + "00" * n + "'",
        "select \"" + "y" * n + "\"", "select 1 as " + "a" * n, "select json('" + "[" * n + "]" * n + "')", "select json('" + '{"a":' * n + "1" + "}" * n + "')",
        "select json_extract('{}', '$" + ".a" * n + "')", "select '" + "a" * n + "' like '" + "%a" * min(n, 25000) + "'", "select '" + "a" * 30 + "' like '" + "%a" * 12 + "b'",
        "select '" + "a" * n + "' glob '" + "*a" * min(n, 25000) + "'", "select printf('%" + str(n) + "d', 1)", "select printf('%.*f', %d, 1.5)" % ((n,) * 1) if False else "select length(printf('%%.%df', 1.5))" % n,
        "select length(printf('%2147483647d', 1))", "select length(printf('%9999999999d', 1))", "select length(zeroblob(2147483647))", "select length(zeroblob(9223372036854775807))",
        "select length(randomblob(-5))", "select length(replace(hex(zeroblob(10000)), '0', hex(zeroblob(100000))))", "select substr('abc', -9223372036854775808, 9223372036854775807)",
        "select substr('abc', 9223372036854775807, -9223372036854775808)", "select round(1.5, 2147483647), round(1e300, -5)", "select abs(-9223372036854775808)",
        "select -9223372036854775808 / -1, -9223372036854775808 % -1", "select 1 << 9223372036854775807, 1 >> -9223372036854775808, -1 << -64", "select cast('1e999999999' as integer), cast(1e300 as integer)",
        "select sum(9223372036854775807) over () from (values(1),(1))", "select char(%s)" % ",".join(["1114112"] * min(n, 100)), "select group_concat(x, '" + "s" * n + "') from (values(1),(2)) v(x)",
        "select date('now', '" + "+1 day " * min(n, 100) + "')", "select date(9223372036854775807), date(-1e308), date('9999-12-31', '+9223372036854775807 days')",
        "select strftime('" + "%Y" * min(n, 5000) + "', 0)", "select strftime('%', 0), strftime('%Q', 0)", "select julianday('-4713-11-24 12:00:00'), date(1e400)",
        "with recursive n(i) as (select 1 union all select i+1 from n) select * from n limit 10", "with " + ",".join("c%d as (select 1)" % i for i in range(min(n, 3000))) + " select * from c0",
        "with c0 as (select 1 x)," + ",".join("c%d as (select a.x from c%d a, c%d b)" % (i, i - 1, i - 1) for i in range(1, 8)) + " select count(*) from c7",
        "select " + "?" + str(n * 1000), "select ?0", "select ?99999999999999", "select @" + "a" * n, "select 1 limit -9223372036854775808 offset 9223372036854775807",
        "select 1 order by " + ",".join(["1"] * many), "select 1 group by " + ",".join(["1"] * many), "select * from " + ",".join(["(select 1)"] * g.pick([10, 60, 64, 65, 200])),
        "select * from " + " join ".join(["(select 1)"] * g.pick([10, 60, 64, 65, 200])), "select * from (select 1 a) " + " natural join (select 1 a) " * g.pick([10, 63, 64, 200]),
        "explain query plan select " + "(" * n + "1" + ")" * n, "/*" * n, "--" * n, ";" * n, "select 1;" + " " * n + "select 2", "\0", "select 1\0select 2", "select '\ud800'", "select '\uffff'",
        "select instr('%s','%s')" % ("a" * n, "a" * (n // 2) + "b"), "select json_group_array(value) from json_each('[" + ",".join(["1"] * min(n, 5000)) + "]')",
        "select json_set('{}', '$.a[2147483647]', 1)", "select json_extract('[1]', '$[99999999999999999999]')", "select json_extract('[1]', '$[#-99999999999999999999]')",
        "select json_patch('" + '{"a":' * n + "1" + "}" * n + "', '" + '{"a":' * n + "2" + "}" * n + "')", "select * from json_tree('" + "[" * min(n, 2000) + "]" * min(n, 2000) + "') limit 5",
        
        
        "select unicode(char(0)), hex(char(55296)), char(-1)", "select hex('\U0010ffff')", "select soundex('" + "a" * n + "')", "select quote(zeroblob(%d))" % n,
        "select trim('" + "x" * n + "', '" + "xy" * 50 + "')", "select ntile(9223372036854775807) over (), ntile(0) over ()", "select nth_value(1, 9223372036854775807) over ()",
        "select lag(1, -9223372036854775808) over (), lead(1, 9223372036854775807) over ()",
        "select sum(1) over (order by 1 rows between 9223372036854775807 preceding and 9223372036854775807 following)",
        "select sum(1) over (order by x range between 1e308 preceding and 1e308 following) from (values(1e308),(-1e308)) v(x)",
        "create table z(a); create table y(b)", "create view vv as select * from vv", "create view v1 as select * from v2; ", "create trigger x after insert on nothing begin select 1; end",
        "select " + "a." * n + "b", "create table t(a check(" + "(" * n + "1" + ")" * n + "))", "create index i on t(" + "(" * n + "1" + ")" * n + ")",
        "create table k(a primary key, " + ",".join("unique(a)" for _ in range(min(n, 300))) + ")", "pragma " + "a" * n, "pragma table_info('" + "x" * n + "')",
        "select 0x" + "f" * n, "select " + "9" * n, "select 1" + "0" * n + ".5", "select 1." + "0" * n + "1", "select 1e" + "9" * n, "select .5e-" + "9" * n,
        "select like('" + "a%" * min(n, 5000) + "', 'a', '\\')", "select 'a' like 'b' escape 'cd'", "select 'a' like 'b' escape ''", "begin; " * 2, "savepoint " + "s" * n,
        "select raise(abort, 'x')", "select row_number()", "select count(*) filter (where 1)", "select sum(sum(1)) over ()", "select max(max(1))", "select (1,2)", "select (1,2)=(1,2,3)", "select 1 in (1,(2,3))",
        "attach '" + "x" * min(n, 5000) + "' as q", "attach ':memory:' as main", "detach main", "detach temp", "vacuum into ''", "analyze nosuch", "reindex nosuch",
    ]
    steps = [("sql", 0, g.pick(cases)) for _ in range(12)]
    if g.chance(0.2):
        depth = g.pick([10, 100, 150])
        steps.append(("script", 0, "create table base(a);insert into base values(1);create view w0 as select a from base;" +
                      "".join("create view w%d as select a from w%d;" % (i, i - 1) for i in range(1, depth))))
        steps.append(("sql", 0, "select * from w%d" % (depth - 1)))
        steps.append(("sql", 0, "alter table base rename to base2"))
        steps.append(("sql", 0, "alter table base2 rename a to aa"))
        steps.append(("sql", 0, "drop view w0"))
        steps.append(("sql", 0, "select * from w%d" % (depth - 1)))
    if g.chance(0.2):
        steps += [("sql", 0, "pragma recursive_triggers=on"), ("sql", 0, "create table rt(a)"),
                  ("sql", 0, "create trigger rtg after insert on rt when new.a<%d begin insert into rt values(new.a+1); end" % g.pick([10, 999, 1001, 100000])),
                  ("sql", 0, "insert into rt values(1)"), ("sql", 0, "select count(*) from rt"),
                  ("sql", 0, "create table fk(i integer primary key, p references fk on delete cascade)"), ("sql", 0, "pragma foreign_keys=on"),
                  ("sql", 0, "with recursive n(i) as (select 1 union all select i+1 from n where i<%d) insert into fk select i, nullif(i-1,0) from n" % g.pick([10, 900, 1100, 5000])),
                  ("sql", 0, "delete from fk where i=1"), ("sql", 0, "select count(*) from fk")]
    return steps, True


def interface(g, number):
    steps = [("sql", number, "create table t1(a integer primary key, b, c)"), ("sql", number, "create table t2(a, b)"), ("sql", number, "create index i2 on t2(b)"),
             ("many", number, "insert into t1 values(?,?,?)", [[i, "v%d" % (i % 7), "x" * i] for i in range(1, 60)]),
             ("sql", number, "insert into t2 select b, a from t1"), ("sql", number, "update t1 set c=zeroblob(40) where a%3=0")]
    g.tables = {"t1": ["a", "b", "c"], "t2": ["a", "b"]}
    for i in range(50):
        r = g.r.random()
        if r < 0.22:
            steps.append(("open", number, g.pick("pqrs"), g.pick(["select * from t1", "select * from t2 order by b", "select t1.a, t2.a from t1, t2 where t1.a=t2.b",
                "select * from t1 order by c desc", "insert into t2 values(1,2),(3,4),(5,6) returning *", "update t1 set b=b||'z' where a<9 returning a,b", "delete from t2 where b>50 returning b",
                "select a, sum(a) over (order by a rows 3 preceding) from t1", "with recursive n(i) as (select 1 union all select i+1 from n) select i from n", g.select(2)])))
        elif r < 0.45:
            steps.append(("fetch", g.pick("pqrs"), g.pick([1, 2, 5, 100])))
        elif r < 0.5:
            steps.append(("close", g.pick("pqrs")))
        elif r < 0.6:
            steps.append(("sql", number, g.transaction()))
        elif r < 0.68:
            steps.append(("sql", number, g.pick(["delete from t1 where a%2", "delete from t1", "insert into t1(b) select b from t1 limit 5", "update t1 set a=a+100", "drop table t2",
                "create table t2(a,b)", "create index if not exists i3 on t1(b)", "drop index if exists i3", "alter table t1 add column z default 4", "alter table t1 rename to t9", "alter table t9 rename to t1",
                "alter table t1 drop column b", "vacuum", "analyze", "reindex", "delete from t2 where rowid in (select rowid from t2 limit 3)", "drop table t1", "insert or replace into t1(a,b) values(3,1),(4,2)"])))
        elif r < 0.74:
            steps.append(("blob", number, g.pick("uv"), g.pick(["t1", "t1", "t2", "nosuch"]), g.pick(["c", "c", "b", "a", "zz"]), g.pick([3, 6, 9, 12, 1, 77]), g.chance(0.3)))
        elif r < 0.8:
            steps.append(g.pick([("blobread", g.pick("uv"), g.pick([0, 5, 39, 40]), g.pick([-1, 1, 10])), ("blobwrite", g.pick("uv"), g.pick([0, 5, 39]), "zz"), ("blobclose", g.pick("uv"))]))
        elif r < 0.86:
            steps.append(("sql", number, g.pick(["select raises(a) from t1", "select agg(a) from t1", "select a, winagg(a) over (order by a rows 2 preceding) from t1 limit 9",
                "insert into t2 select raises(a), 1 from t1", "update t1 set b=raises(b) where a=5", "select callsback('select count(*) from t1')", "select callsback('select callsback(''select 1'')')",
                "select a, callsback('delete from t1 where a=' || (a+1)) from t1 limit 5", "select callsback('drop table t2')", "select callsback('rollback')", "select a, callsback('insert into t2 values(1,1)') from t1 limit 4",
                "select callsback('vacuum')", "update t1 set b=callsback('select b from t1 limit 1')", "delete from t1 where callsback('delete from t1')", "select callsback('begin')", "select callsback('alter table t1 add column q')",
                "select * from t1 where raises()", "select count(*) from t1 group by raises(a)", "select * from t1 order by same(a) desc limit 3", "insert into t1(b) values(callsback('insert into t1(b) values(8)'))",
                "create index ix on t1(same(a))", "create table w(a collate lies)", "insert into w values('a'),('bb'),('ccc'),('dddd'),('e')", "create index wi on w(a)", "select * from w order by a", "select distinct a from w",
                "select * from w where a='bb'", "select a from t1 order by b collate fails", "select max(b collate fails) from t1", "select * from w where a in (select a from w)", "select a, count(*) from w group by a",
                "delete from w where a>'a'", "select b from t1 order by b collate backwards limit 4", "create unique index bx on t2(a collate backwards)", "select min(a collate backwards) from t2"])))
        elif r < 0.90:
            text = g.pick(["with recursive n(i) as (select 1 union all select i+1 from n) select count(*) from n", "select count(*) from t1 x, t1 y, t1 z, t1 w, t1 v",
                           "select max(x.a||y.a||z.a) from t1 x, t1 y, t1 z, t1 w order by 1", "with recursive n(i) as (select 1 union all select i+1 from n) insert into t2 select i,i from n",
                           "update t1 set b=(select count(*) from t1 x, t1 y, t1 z, t1 w)"])
            steps.append(("interrupted", number, text, g.pick([0.001, 0.02, 0.05])))
        elif r < 0.93:
            steps.append(("progress", number, g.pick(["select * from t1", "insert into t2 select a,b from t1", "select count(*) from t1 x, t1 y", "update t1 set b=1", "create index ip on t1(b)", g.statement()]), g.pick([0, 1, 3, 20])))
        elif r < 0.95:
            steps.append(("authorizer", number, g.pick([None, [0, 0, 0, 1], [0, 2], [0] * 30 + [1], [0, 0, 77]])))
        elif r < 0.96:
            steps.append(("authorizer", number, None))
        elif r < 0.97:
            steps.append(("limit", number, g.r.randrange(0, 12), g.pick([0, 1, 5, 100, -1, 1 << 30])))
        elif r < 0.98:
            steps.append(("serialize", number))
        elif r < 0.99:
            steps.append(("dump", number))
        else:
            steps.append(("backup", number, g.pick([0, 1, 5])))
    return steps, False


def attached(g):
    g.tables = {"t1": ["a", "b"], "q.t1": ["a", "b"], "temp.t1": ["a", "b"], "q.t2": ["a", "b"]}
    steps = [("sql", 0, "create table t1(a, b)"), ("sql", 0, "attach ':memory:' as q"), ("sql", 0, "create table q.t1(a,b)"), ("sql", 0, "create temp table t1(a,b)"), ("sql", 0, "create table q.t2(a,b)")]
    for i in range(40):
        r = g.r.random()
        if r < 0.12:
            steps.append(("sql", 0, g.pick(["detach q", "attach ':memory:' as q", "attach '' as q2", "detach q2", "attach ':memory:' as q3", "create table q.t2(a,b)", "create table q2.t5(a,b)", "attach 'file:mm?mode=memory&cache=shared' as q"])))
        elif r < 0.2:
            steps.append(("open", 0, g.pick("pq"), g.select(1)))
        elif r < 0.3:
            steps.append(("fetch", g.pick("pq"), 2))
        else:
            steps.append(("sql", 0, g.pick([g.insert, g.insert, g.select, g.update, g.delete, g.transaction, g.trigger, g.view, g.alter, g.statement])()))
    return steps, False


def crowd(g):
    """Several connections and threads on one database, DDL included."""
    steps = [("sql", 1, "create table t1(a integer primary key, b, c)"), ("sql", 1, "create table t2(a, b)"),
             ("sql", 1, "insert into t1 select value, value, value from json_each('[1,2,3,4,5,6,7,8,9]')")]
    statements = ["select * from t1", "select count(*) from t1, t2", "insert into t1(b) values(1)", "insert into t2 values(1,2)", "update t1 set b=b+1", "delete from t1 where a%3=0", "create table if not exists t3(a)",
                  "drop table if exists t3", "create index if not exists i1 on t1(b)", "drop index if exists i1", "alter table t1 add column z", "alter table t1 drop column z", "alter table t2 rename to t4",
                  "alter table t4 rename to t2", "create view if not exists v as select * from t1 join t2 on t1.a=t2.b", "drop view if exists v", "select * from v", "begin", "commit", "rollback", "begin immediate", "savepoint s",
                  "release s", "rollback to s", "vacuum", "analyze", "pragma integrity_check", "create trigger if not exists g after insert on t1 begin insert into t2 values(new.a, 1); end", "drop trigger if exists g",
                  "insert into t1 select a+100,b,c from t1", "select b, count(*) from t1 group by b", "pragma foreign_keys=on", "reindex", "select * from sqlite_master", "alter table t1 rename b to bb", "alter table t1 rename bb to b",
                  "create temp table tt as select * from t1", "drop table if exists tt"]
    if g.chance(0.5):   # one thread, interleaved connections
        for i in range(60):
            number = g.pick([1, 2, 3])
            if g.chance(0.15):
                steps.append(("open", number, g.pick("pqr"), g.pick(["select * from t1", "select * from t2", "select * from v", "insert into t2 values(5,5),(6,6) returning *"])))
            elif g.chance(0.15):
                steps.append(("fetch", g.pick("pqr"), 3))
            elif g.chance(0.03):
                steps.append(("bye", number))
            else:
                steps.append(("sql", number, g.pick(statements)))
    else:
        for i in range(4):
            steps.append(("threads", [[(g.pick([1, 2, 3, thread + 1]), g.pick(statements)) for _ in range(15)] for thread in range(4)]))
    return steps, False


EXTENSIONS = [
    "select count(*) from generate_series(1, 9223372036854775807, 4611686018427387904)", "select * from generate_series(9223372036854775806, 9223372036854775807)",
    "select * from generate_series(-9223372036854775808, 0, 9223372036854775807)", "select * from generate_series(1,2,0)", "select * from generate_series(1, 3, -9223372036854775808)",
    "create table vt(id integer primary key, v vector(3), n)", "insert into vt(v,n) values('[1,2,3]',1),('[4,5,6]',2),('[0,0,1]',3)", "insert into vt(v) values('[1,2]')", "insert into vt(v) values(null)",
    "insert into vt(v) values(x'0000803f0000803f0000803f')", "insert into vt(v) values(x'00')", "insert into vt(v) values('[1,2,1e999]')", "select id from vt order by v <-> '[1,2,3]' limit 2",
    "select id from vt order by v <=> '[0,0,0]' limit 5", "select id from vt where n>1 order by v <#> '[1,1,1]' limit 1", "select id from vt order by vector_distance(v, '[1]', 'l2') limit 3",
    "select vector_distance('[1,2]','[1,2]','nosuch')", "select vector_dims(v), vector_norm(v) from vt", "update vt set v='[9,9,9]' where id=1", "delete from vt where id=2", "drop table vt",
    "create index vi on vt using hnsw (v vector_l2_ops) with (m=16, ef_construction=200)", "create index vi2 on vt using hnsw (v vector_cosine_ops) with (m=0)", "drop index vi", "alter table vt add column w vector(2)",
    "alter table vt drop column v", "alter table vt rename v to vv", "create table big(v vector(99999999999))", "create table neg(v vector(-1))", "create table zero(v vector(0))", "create virtual table x using nosuch(a)",
    "select * from vt as of now", "select * from t1 as of timestamp '2000-01-01'", "select * from t1 as of timestamp 9e99", "select * from t1 as of scn 0", "select * from t1 as of transaction -1", "select * from t1 as of scn 9223372036854775807",
    "select * from t1 versions between 0 and 9e18", "select * from t1 versions between '2020-01-01' and 'now'", "select *, _version_op from t1 versions between '2020-01-01' and '2100-01-01'", "select * from heliosdb_transactions limit 3",
    "create branch b1", "create database branch b2 from b1", "create branch b3 as of timestamp '2020-01-01'", "use branch b1", "use branch main", "use branch nosuch", "drop branch b1", "drop branch main", "drop branch if exists b9",
    "merge branch b1 into main", "merge branch main into main", "merge branch b1 into main with (conflict_resolution='branch_wins', delete_branch_after=true)", "merge branch b1 into b2 with (dry_run=true)", "merge branch b1 into main with (nosuch=1)",
    "show branches", "select * from heliosdb_diff('t1','main','b1')", "select * from heliosdb_diff('t1','x','y')", "select * from heliosdb_conflicts", "select * from heliosdb_info", "select * from heliosdb_branches", "select * from heliosdb_stats",
    "select * from heliosdb_vector_indexes", "select * from pg_database_branches", "erase from t1 where a=1", "erase from t1", "pragma heliosdb_retention=0", "pragma heliosdb_retention", "pragma heliosdb_retention=-5",
    "pragma heliosdb_recall_target=2", "pragma heliosdb_ef_search=-1", "pragma heliosdb_recall(vt,v,10)", "pragma heliosdb_dialect=postgres", "pragma heliosdb_dialect=sqlite", "pragma heliosdb_dialect=nosuch", "set heliosdb.dialect='postgres'",
    "select '1'::int, 'x' ilike 'X'", "select array_agg(a) from t1", "select now()", "select extract(year from timestamp '2020-01-01')", "select $1", "select * from t1 for update", "create table se(id serial primary key, n numeric(5,2))",
    "insert into se(n) values(1) returning id", "select nextval('s')", "create sequence s", "truncate t1", "comment on table t1 is 'x'", "select distinct on (a) * from t1", "declare c cursor for select 1", "fetch c", "copy t1 to stdout",
    "create virtual table ft using fts5(a, b)", "insert into ft values('hello world','x y z')", "select * from ft where ft match 'hello'", "select * from ft where ft match '\"'", "select * from ft where ft match 'a AND (b OR'", "select highlight(ft,0,'[',']') from ft where ft match 'hel*'",
    "select bm25(ft), snippet(ft,-1,'<','>','..',99) from ft('world')", "insert into ft(ft) values('optimize')", "insert into ft(ft) values('rebuild')", "insert into ft(ft,rank) values('nosuch',1)", "drop table ft", "delete from ft where rowid=1", "update ft set a='b'",
    "create virtual table rt using rtree(id,x0,x1,y0,y1)", "insert into rt values(1,0,1,0,1),(2,5,6,5,6)", "insert into rt values(3,9,1,0,0)", "select id from rt where x0>=0 and x1<=3", "drop table rt", "create virtual table f4 using fts4(a)", "insert into f4 values('one two')",
    "select * from f4 where f4 match 'one NEAR two'", "select offsets(f4) from f4 where a match 'two'", "alter table ft rename to ft2", "select * from ft_data", "delete from ft_data", "update ft_content set c0=x'ff'", "drop table ft_idx", "select * from dbstat", "select * from sqlite_dbpage",
]


def extensions(g):
    number = g.pick([0, 1])
    g.tables = {"t1": ["a", "b"], "vt": ["id", "v", "n"], "ft": ["a", "b"], "rt": ["id", "x0", "x1"]}
    steps = [("sql", number, "create table t1(a integer primary key, b)"), ("sql", number, "insert into t1 values(1,2),(3,4),(5,6)")]
    for i in range(50):
        r = g.r.random()
        text = g.pick(EXTENSIONS)
        if r < 0.15:
            text = mutate(g, text, EXTENSIONS)
        elif r < 0.35:
            text = g.pick([g.insert, g.update, g.delete, g.select, g.transaction, g.alter])()
        steps.append(("sql", g.pick([number, number, number, number + 1 if number else 0]), text))
    return steps, False


KINDS = {"corpus": corpus, "generated": generated, "filed": filed, "hostile": hostile, "interface": lambda g: interface(g, 0), "interface_file": lambda g: interface(g, 1),
         "attached": attached, "crowd": crowd, "extensions": extensions}
ORDER = ["corpus", "generated", "hostile", "interface", "generated", "extensions", "corpus", "interface_file", "attached", "crowd", "generated", "filed"]


def script_of(seed, kind=None):
    kind = kind or ORDER[seed % len(ORDER)]
    return KINDS[kind](Gen(seed * 31 + 7))
