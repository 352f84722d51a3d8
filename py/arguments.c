/* arguments.c: sorting arguments into parameters, with the sentences CPython's own parser says.
 *
 * Methods of this module take vectorcall arguments; a spec names the parameters once, and the parser fills an
 * array of borrowed references. Cheaper than PyArg_ParseTupleAndKeywords and the same for 3.8 to 3.13, whose
 * own helpers are private and differ.
 */
#include "py/module.h"

/* "function" or "execute()": older interpreters do not name themselves everywhere */
static const char *name_of(const arguments_spec *spec, char *buffer, size_t bytes) {
  if (PY_VERSION_HEX < (0x03000000u | (unsigned)spec->named_since << 16)) return "function";
  PyOS_snprintf(buffer, bytes, "%s()", spec->function);
  return buffer;
}

static int too_many(const arguments_spec *spec, Py_ssize_t given, Py_ssize_t most, const char *kind) {
  char name[64];
  PyErr_Format(PyExc_TypeError, "%s takes at most %zd %sargument%s (%zd given)", name_of(spec, name, sizeof name), most,
               kind, most == 1 ? "" : "s", given);
  return -1;
}

static int unexpected_keyword(const arguments_spec *spec, PyObject *name) {
#if PY_AT_LEAST(13)
  PyErr_Format(PyExc_TypeError, "%.200s() got an unexpected keyword argument '%S'", spec->function, name);
#else
  char buffer[64];
  const char *shown = name_of(spec, buffer, sizeof buffer);
  PyErr_Format(PyExc_TypeError, "'%S' is an invalid keyword argument for %s", name,
               shown == buffer ? shown : "this function");
#endif
  return -1;
}

static int put_keyword(const arguments_spec *spec, PyObject *name, PyObject *value, PyObject **out) {
  if (!PyUnicode_Check(name)) {
    PyErr_SetString(PyExc_TypeError, "keywords must be strings");
    return -1;
  }
  int i = 0;
  while (i < spec->count && PyUnicode_CompareWithASCIIString(name, spec->names[i])) i++;
  if (i == spec->count) return unexpected_keyword(spec, name);
  if (out[i]) {
    char buffer[64];
    PyErr_Format(PyExc_TypeError, "argument for %s given by name ('%U') and position (%d)",
                 name_of(spec, buffer, sizeof buffer), name, i + 1);
    return -1;
  }
  out[i] = value;
  return 0;
}

static int take_positional(const arguments_spec *spec, PyObject *const *args, Py_ssize_t nargs, Py_ssize_t nkeywords,
                           PyObject **out) {
  memset(out, 0, (size_t)spec->count * sizeof *out);
  if (nargs + nkeywords > spec->count) return too_many(spec, nargs + nkeywords, spec->count, "");
  if (nargs > spec->positional) return too_many(spec, nargs, spec->positional, spec->kind);
  for (Py_ssize_t i = 0; i < nargs; i++) out[i] = args[i];
  return 0;
}

static int check_required(const arguments_spec *spec, PyObject **out) {
  for (int i = 0; i < spec->required; i++) {
    if (out[i]) continue;
    char name[64];
    PyErr_Format(PyExc_TypeError, "%s missing required argument '%s' (pos %d)", name_of(spec, name, sizeof name),
                 spec->names[i], i + 1);
    return -1;
  }
  return 0;
}

int arguments_parse(const arguments_spec *spec, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                    PyObject **out) {
  nargs = PyVectorcall_NARGS((size_t)nargs);
  Py_ssize_t nkeywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  if (take_positional(spec, args, nargs, nkeywords, out) < 0) return -1;
  for (Py_ssize_t i = 0; i < nkeywords; i++) {
    if (put_keyword(spec, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], out) < 0) return -1;
  }
  return check_required(spec, out);
}

int arguments_parse_tuple(const arguments_spec *spec, PyObject *args, PyObject *kwargs, PyObject **out) {
  Py_ssize_t nkeywords = kwargs ? PyDict_GET_SIZE(kwargs) : 0;
  if (take_positional(spec, PySequence_Fast_ITEMS(args), PyTuple_GET_SIZE(args), nkeywords, out) < 0) return -1;
  PyObject *name, *value;
  Py_ssize_t position = 0;
  while (nkeywords && PyDict_Next(kwargs, &position, &name, &value)) {
    if (put_keyword(spec, name, value, out) < 0) return -1;
  }
  return check_required(spec, out);
}

int arguments_positional(const char *function, Py_ssize_t given, Py_ssize_t least, Py_ssize_t most) {
  given = PyVectorcall_NARGS((size_t)given);
  if (given >= least && given <= most) return 0;
  Py_ssize_t bound = given < least ? least : most;
  const char *how = least == most ? "" : given < least ? "at least " : "at most ";
#if PY_AT_LEAST(10)
  PyErr_Format(PyExc_TypeError, "%.200s expected %s%zd argument%s, got %zd", function, how, bound,
               bound == 1 ? "" : "s", given);
#else
  PyErr_Format(PyExc_TypeError, "function takes %s%zd argument%s (%zd given)", least == most ? "exactly " : how, bound,
               bound == 1 ? "" : "s", given);
#endif
  return -1;
}

int arguments_exactly(const char *function, Py_ssize_t given, Py_ssize_t count) {
#if PY_AT_LEAST(10) && !PY_AT_LEAST(11)
  return arguments_positional(function, given, count, count);
#else
  given = PyVectorcall_NARGS((size_t)given);
  if (given == count) return 0;
  PyErr_Format(PyExc_TypeError, "%.200s() takes exactly %zd %sargument%s (%zd given)", function, count,
               PY_AT_LEAST(11) ? "positional " : "", count == 1 ? "" : "s", given);
  return -1;
#endif
}

int arguments_bad(const char *function, const char *what, const char *expected, PyObject *o) {
#if PY_AT_LEAST(10)
  PyErr_Format(PyExc_TypeError, "%.200s() %.200s must be %.50s, not %.50s", function, what, expected,
               o == Py_None ? "None" : Py_TYPE(o)->tp_name);
#else
  (void)function;
  PyErr_Format(PyExc_TypeError, "%.200s must be %.50s, not %.50s", strchr(what, '\'') ? "argument 1" : what, expected,
               o == Py_None ? "None" : Py_TYPE(o)->tp_name);
#endif
  return -1;
}

int arguments_string(const char *function, const char *what, PyObject *o, const char **out) {
  if (!PyUnicode_Check(o)) return arguments_bad(function, what, "str", o);
  Py_ssize_t bytes;
  *out = PyUnicode_AsUTF8AndSize(o, &bytes);
  if (!*out) return -1;
  if (strlen(*out) != (size_t)bytes) {
    PyErr_SetString(PyExc_ValueError, "embedded null character");
    return -1;
  }
  return 0;
}

int arguments_int(PyObject *o, int *out) {
#if !PY_AT_LEAST(10)
  if (PyFloat_Check(o)) {
    PyErr_SetString(PyExc_TypeError, "integer argument expected, got float");
    return -1;
  }
  if (!PyLong_Check(o) && !(Py_TYPE(o)->tp_as_number && Py_TYPE(o)->tp_as_number->nb_index)) {
    PyErr_Format(PyExc_TypeError, "an integer is required (got type %.200s)", Py_TYPE(o)->tp_name);
    return -1;
  }
#endif
  PyObject *index = PyNumber_Index(o);
  if (!index) return -1;
  int overflow;
  long v = PyLong_AsLongAndOverflow(index, &overflow);
  Py_DECREF(index);
  if (v == -1 && PyErr_Occurred()) return -1;
  if (overflow || v > INT32_MAX || v < INT32_MIN) {
#if PY_AT_LEAST(10)
    PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
#else
    if (overflow)
      PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C long");
    else
      PyErr_Format(PyExc_OverflowError, "signed integer is %s than %s", v > 0 ? "greater" : "less",
                   v > 0 ? "maximum" : "minimum");
#endif
    return -1;
  }
  *out = (int)v;
  return 0;
}
