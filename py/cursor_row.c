/* cursor_row.c: the current row of a statement becomes Python values.
 *
 * No allocation but the values themselves and their tuple. text_factory str is the plain path; a converter
 * (detect_types) or another text_factory is the user's Python: the turn is paused around it, and the columns
 * are asked again only after the connection was found open. A column declared VECTOR(n) is a list of floats, unless a
 * converter takes it.
 */
#include "py/objects.h"

static PyObject *decode_failed(cursor *u, int column, const char *text, int64_t bytes) {
  if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) return NULL;
  PyErr_Clear();
  char message[200];
  const char *name = hdb_column_name(u->statement->handle, column);
  PyOS_snprintf(message, sizeof message - 1, "Could not decode to UTF-8 column '%s' with text '%.*s'",
                name ? name : "<unknown column name>", (int)(bytes < 200 ? bytes : 200), text);
  PyObject *o = PyUnicode_Decode(message, (Py_ssize_t)strlen(message), "ascii", "replace");
  if (o) {
    PyErr_SetObject(u->connection->state->exceptions[EXC_OPERATIONAL], o);
    Py_DECREF(o);
  }
  return NULL;
}

static PyObject *call_user(cursor *u, PyObject *callable, PyObject *argument) {
  if (!argument) return NULL;
  int depth = turn_pause(u->connection);
  PyObject *answer = PyObject_CallOneArg(callable, argument);
  turn_resume(u->connection, depth);
  Py_DECREF(argument);
  if (answer && (!connection_check_open(u->connection) || !u->statement)) {
    Py_CLEAR(answer);
    if (!PyErr_Occurred()) RAISE(u->connection->state, EXC_PROGRAMMING, "Cannot operate on a closed cursor.");
  }
  return answer;
}

static PyObject *text_value(cursor *u, int column, const char *text, int64_t bytes) {
  PyObject *factory = u->connection->text_factory;
  if (LIKELY(factory == (PyObject *)&PyUnicode_Type)) {
    PyObject *o = PyUnicode_FromStringAndSize(text, (Py_ssize_t)bytes);
    return LIKELY(o != NULL) ? o : decode_failed(u, column, text, bytes);
  }
  if (factory == (PyObject *)&PyBytes_Type) return PyBytes_FromStringAndSize(text, (Py_ssize_t)bytes);
  if (factory == (PyObject *)&PyByteArray_Type) return PyByteArray_FromStringAndSize(text, (Py_ssize_t)bytes);
  return call_user(u, factory, PyBytes_FromStringAndSize(text, (Py_ssize_t)bytes));
}

static PyObject *converted_value(cursor *u, hdb_stmt *handle, int column, PyObject *converter) {
  if (hdb_column_type(handle, column) == HDB_NULL) Py_RETURN_NONE;
  const void *data = hdb_column_blob(handle, column);
  Py_ssize_t bytes = (Py_ssize_t)hdb_column_bytes(handle, column);
  if (!data) Py_RETURN_NONE;
  return call_user(u, converter, PyBytes_FromStringAndSize(data, bytes));
}

/* A VECTOR(n) column's value: a list of floats; whatever else stands there stays what it is. */
static PyObject *vector_value(const char *p, int64_t bytes, int dimensions) {
  if (bytes != 4 * (int64_t)dimensions) return PyBytes_FromStringAndSize(p, (Py_ssize_t)bytes);
  PyObject *list = PyList_New(dimensions);
  for (int i = 0; list && i < dimensions; i++) {
    float f;
    memcpy(&f, p + 4 * (size_t)i, 4);
    PyObject *item = PyFloat_FromDouble((double)f);
    if (!item)
      Py_CLEAR(list);
    else
      PyList_SET_ITEM(list, i, item);
  }
  return list;
}

static PyObject *plain_value(cursor *u, hdb_stmt *handle, int column) {
  int64_t integer, bytes;
  double real;
  const char *p;
  switch (hdb_column_raw(handle, column, &integer, &real, &p, &bytes)) {
  case HDB_INTEGER: return PyLong_FromLongLong(integer);
  case HDB_TEXT: return text_value(u, column, p, bytes);
  case HDB_FLOAT: return PyFloat_FromDouble(real);
  case HDB_BLOB:
    if (UNLIKELY(u->statement->vectors != NULL) && column < u->statement->vectors_n &&
        u->statement->vectors[column])
      return vector_value(p, bytes, u->statement->vectors[column]);
    return PyBytes_FromStringAndSize(p, (Py_ssize_t)bytes);
  default: Py_RETURN_NONE;
  }
}

PyObject *cursor_build_row(cursor *u) {
  hdb_stmt *handle = u->statement->handle;
  int count = hdb_data_count(handle);
  PyObject *row = PyTuple_New(count);
  if (!row) return NULL;
  Py_ssize_t converters = u->converters ? PyTuple_GET_SIZE(u->converters) : 0;
  bool atomic =
      !converters && !u->statement->vectors && u->connection->text_factory == (PyObject *)&PyUnicode_Type;
  for (int i = 0; i < count; i++) {
    PyObject *converter = i < converters ? PyTuple_GET_ITEM(u->converters, i) : Py_None;
    PyObject *value =
        LIKELY(converter == Py_None) ? plain_value(u, handle, i) : converted_value(u, handle, i, converter);
    if (UNLIKELY(!value)) {
      Py_DECREF(row);
      return NULL;
    }
    PyTuple_SET_ITEM(row, i, value);
  }
  if (LIKELY(atomic)) PyObject_GC_UnTrack(row); /* what the collector itself would find out, once a row */
  return row;
}

/* The converter registered for a type name in any case; borrowed, NULL without exception when there is none. */
static PyObject *find_converter(module_state *state, const char *name, size_t bytes) {
  PyObject *text = PyUnicode_FromStringAndSize(name, (Py_ssize_t)bytes);
  PyObject *key = text ? PyObject_CallMethodNoArgs(text, state->name_upper) : NULL;
  PyObject *converter = key ? PyDict_GetItemWithError(state->converters, key) : NULL;
  Py_XDECREF(text);
  Py_XDECREF(key);
  return converter;
}

/* 'name [type]' */
static PyObject *converter_of_name(module_state *state, const char *name) {
  const char *open = name ? strchr(name, '[') : NULL;
  if (!open) return NULL;
  const char *close = open;
  for (; *close && *close != ']'; close++) {
    if (*close == '[') open = close;
  }
  return *close ? find_converter(state, open + 1, (size_t)(close - open - 1)) : NULL;
}

int cursor_build_converters(cursor *u) {
  connection *c = u->connection;
  hdb_stmt *handle = u->statement->handle;
  int count = handle ? hdb_column_count(handle) : 0;
  PyObject *tuple = PyTuple_New(count);
  for (int i = 0; tuple && i < count; i++) {
    PyObject *converter = NULL;
    if (c->detect_types & 2) converter = converter_of_name(c->state, hdb_column_name(handle, i));
    if (!converter && !PyErr_Occurred() && (c->detect_types & 1)) {
      const char *type = hdb_column_decltype(handle, i);
      if (type) converter = find_converter(c->state, type, strcspn(type, " ("));
    }
    if (PyErr_Occurred()) {
      Py_DECREF(tuple);
      return -1;
    }
    PyTuple_SET_ITEM(tuple, i, Py_NewRef(converter ? converter : Py_None));
  }
  if (!tuple) return -1;
  Py_XSETREF(u->converters, tuple);
  return 0;
}

/* A column's name in the description: with PARSE_COLNAMES what stands before " [". */
static PyObject *column_name(connection *c, const char *name) {
  size_t bytes = strlen(name);
  if (c->detect_types & 2) {
    const char *open = strchr(name, '[');
    if (open) bytes = (size_t)(open - name) - (open > name && open[-1] == ' ');
  }
  PyObject *o = PyUnicode_FromStringAndSize(name, (Py_ssize_t)bytes);
  if (o) PyUnicode_InternInPlace(&o); /* row["name"] then compares pointers */
  return o;
}

static PyObject *make_description(connection *c, hdb_stmt *handle, int count) {
  PyObject *description = PyTuple_New(count);
  for (int i = 0; description && i < count; i++) {
    const char *raw = hdb_column_name(handle, i);
    PyObject *name = raw ? column_name(c, raw) : PyErr_NoMemory();
    PyObject *item =
        name ? PyTuple_Pack(7, name, Py_None, Py_None, Py_None, Py_None, Py_None, Py_None) : NULL;
    Py_XDECREF(name);
    if (!item) {
      Py_CLEAR(description);
      break;
    }
    PyTuple_SET_ITEM(description, i, item);
  }
  return description;
}

/* Which columns are vectors. */
static int note_vectors(statement *s, int count) {
  PyMem_Free(s->vectors);
  s->vectors = NULL;
  s->vectors_n = count;
  for (int i = 0; i < count; i++) {
    const char *type = hdb_column_decltype(s->handle, i);
    int dimensions = type ? hdb_vector_dimensions(type) : 0;
    if (!dimensions) continue;
    if (!s->vectors) s->vectors = PyMem_Calloc((size_t)count, sizeof *s->vectors);
    if (!s->vectors) {
      PyErr_NoMemory();
      return -1;
    }
    s->vectors[i] = (uint16_t)dimensions;
  }
  return 0;
}

int cursor_set_description(cursor *u) {
  statement *s = u->statement;
  int count = s->handle ? hdb_column_count(s->handle) : 0;
  if (!count) return 0;
  unsigned compiled = hdb_stmt_compiled(s->handle);
  if (!s->description || s->described != compiled) {
    if (note_vectors(s, count) < 0) return -1;
    PyObject *description = make_description(u->connection, s->handle, count);
    if (!description) return -1;
    Py_XSETREF(s->description, description);
    s->described = compiled;
  }
  Py_INCREF(s->description);
  Py_XSETREF(u->description, s->description);
  return 0;
}
