/* Connection.execute_vector_search: the SELECT that everybody would write, with its names quoted. */
#include <strings.h>

#include "py/objects.h"

static const char *const names[] = {"table", "column", "query_vector", "limit", "metric"};
static const arguments_spec spec = {"execute_vector_search", names, 5, 5, 3, "positional ", 11};

static void append_quoted(char **to, const char *name) {
  *(*to)++ = '"';
  for (; *name; name++) {
    if (*name == '"') *(*to)++ = '"';
    *(*to)++ = *name;
  }
  *(*to)++ = '"';
  **to = 0;
}

/* The metric's own word, so that nothing of the caller's stands in the text. */
static const char *metric_of(const char *name) {
  static const char *const metrics[] = {"cosine", "l2", "euclidean", "ip", "inner_product", "l1", "manhattan"};
  for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
    if (strcasecmp(metrics[i], name) == 0) return metrics[i];
  return NULL;
}

PyObject *connection_execute_vector_search(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *v[5];
  const char *table, *column, *metric = "cosine";
  if (arguments_parse(&spec, args, nargs, kwnames, v) < 0 || arguments_string(spec.function, "argument 1", v[0], &table) < 0 ||
      arguments_string(spec.function, "argument 2", v[1], &column) < 0)
    return NULL;
  if (v[4] && arguments_string(spec.function, "argument 'metric'", v[4], &metric) < 0) return NULL;
  const char *known = metric_of(metric);
  if (!known) return PyErr_Format(PyExc_ValueError, "unknown metric: it must be 'cosine', 'l2', 'ip' or 'l1'");
  size_t table_n = 2 * strlen(table) + 3, column_n = 2 * strlen(column) + 3;
  char *text = PyMem_Malloc(table_n + column_n), *end = text;
  if (!text) return PyErr_NoMemory();
  append_quoted(&end, column);
  char *quoted_table = ++end;
  append_quoted(&end, table);
  PyObject *sql = PyUnicode_FromFormat("SELECT *, vector_distance(%s, ?1, '%s') AS distance FROM %s WHERE %s IS NOT NULL "
                                       "ORDER BY vector_distance(%s, ?1, '%s') LIMIT ?2",
                                       text, known, quoted_table, text, text, known);
  PyMem_Free(text);
  PyObject *limit = v[3] ? Py_NewRef(v[3]) : PyLong_FromLong(10);
  PyObject *cursor = sql && limit ? PyObject_CallMethod(self, "execute", "O(OO)", sql, v[2], limit) : NULL;
  PyObject *rows = cursor ? PyObject_CallMethod(cursor, "fetchall", NULL) : NULL;
  Py_XDECREF(sql);
  Py_XDECREF(limit);
  Py_XDECREF(cursor);
  return rows;
}
