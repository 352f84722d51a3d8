/* convert.c: arguments of callbacks to Python, answers of callbacks back to the engine.
 *
 * (Columns and parameters, the hot paths, are converted where they are read and bound: cursor_row.c and
 * statement_bind.c.)
 */
#include "py/module.h"

PyObject *convert_value(hdb_value *v) {
  switch (hdb_value_type(v)) {
  case HDB_INTEGER: return PyLong_FromLongLong(hdb_value_int64(v));
  case HDB_FLOAT: return PyFloat_FromDouble(hdb_value_double(v));
  case HDB_TEXT: {
    const char *text = hdb_value_text(v);
    if (!text) return PyErr_NoMemory();
    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)hdb_value_bytes(v));
  }
  case HDB_BLOB: {
    Py_ssize_t bytes = (Py_ssize_t)hdb_value_bytes(v);
    return PyBytes_FromStringAndSize(hdb_value_blob(v), bytes);
  }
  default: Py_RETURN_NONE;
  }
}

PyObject *convert_values(int count, hdb_value **values) {
  PyObject *tuple = PyTuple_New(count);
  for (int i = 0; tuple && i < count; i++) {
    PyObject *item = convert_value(values[i]);
    if (!item) {
      Py_DECREF(tuple);
      return NULL;
    }
    PyTuple_SET_ITEM(tuple, i, item);
  }
  return tuple;
}

static int result_buffer(hdb_context *context, PyObject *value) {
  Py_buffer view;
  if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) return -1;
  hdb_result_blob(context, view.buf ? view.buf : "", view.len, HDB_TRANSIENT);
  PyBuffer_Release(&view);
  return 0;
}

int convert_result(hdb_context *context, PyObject *value) {
  if (value == Py_None) {
    hdb_result_null(context);
  } else if (PyLong_Check(value)) {
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to SQLite INTEGER");
    if (n == -1 && PyErr_Occurred()) return -1;
    hdb_result_int64(context, n);
  } else if (PyFloat_Check(value)) {
    hdb_result_double(context, PyFloat_AsDouble(value));
  } else if (PyUnicode_Check(value)) {
    Py_ssize_t bytes;
    const char *text = PyUnicode_AsUTF8AndSize(value, &bytes);
    if (!text) return -1;
    hdb_result_text(context, text, bytes, HDB_TRANSIENT);
  } else if (PyObject_CheckBuffer(value)) {
    return result_buffer(context, value);
  } else {
    PyErr_Format(PyExc_TypeError, "User-defined functions cannot return '%s' values to SQLite",
                 Py_TYPE(value)->tp_name);
    return -1;
  }
  return 0;
}
