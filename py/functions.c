/* functions.c: SQL functions, aggregates and window functions in Python.
 *
 * An aggregate's instance lives in the engine's memory for that invocation, as one pointer, from its first
 * step to finalize. Exceptions become the SQL error "user-defined ... raised ..."; from Python 3.11 on
 * MemoryError and OverflowError become the engine's own.
 */
#include "py/callbacks.h"

/* An exception is set: make it the SQL error, then show or drop it. */
static void fail(hdb_context *context, callback *cb, const char *message) {
  if (PY_AT_LEAST(11) && PyErr_ExceptionMatches(PyExc_MemoryError))
    hdb_result_error_nomem(context);
  else if (PY_AT_LEAST(11) && PyErr_ExceptionMatches(PyExc_OverflowError))
    hdb_result_error_toobig(context);
  else
    hdb_result_error(context, message, -1);
  errors_in_callback(cb->state, cb->callable);
}

static void on_call(hdb_context *context, int count, hdb_value **values) {
  PyGILState_STATE gil = PyGILState_Ensure();
  callback *cb = hdb_user_data(context);
  PyObject *args = convert_values(count, values);
  PyObject *answer = args ? PyObject_CallObject(cb->callable, args) : NULL;
  Py_XDECREF(args);
  if (!answer || convert_result(context, answer) < 0) fail(context, cb, "user-defined function raised exception");
  Py_XDECREF(answer);
  PyGILState_Release(gil);
}

/* Does the exception say that the method is not there? Older interpreters do not distinguish. */
static const char *method_message(const char *missing, const char *raised) {
  return PY_AT_LEAST(11) && PyErr_ExceptionMatches(PyExc_AttributeError) ? missing : raised;
}

/* step or inverse with the row's arguments */
static void call_with_row(hdb_context *context, PyObject *instance, PyObject *name, int count, hdb_value **values,
                          const char *missing, const char *raised) {
  callback *cb = hdb_user_data(context);
  PyObject *method = PyObject_GetAttr(instance, name);
  if (!method) {
#if PY_AT_LEAST(11)
    fail(context, cb, method_message(missing, raised));
#else
    hdb_result_error(context, missing, -1); /* the AttributeError itself surfaces */
#endif
    return;
  }
  PyObject *args = convert_values(count, values);
  PyObject *answer = args ? PyObject_CallObject(method, args) : NULL;
  if (!answer) fail(context, cb, raised);
  Py_XDECREF(answer);
  Py_XDECREF(args);
  Py_DECREF(method);
}

static void on_step(hdb_context *context, int count, hdb_value **values) {
  PyGILState_STATE gil = PyGILState_Ensure();
  callback *cb = hdb_user_data(context);
  PyObject **instance = hdb_aggregate_context(context, sizeof *instance);
  if (!instance) {
    hdb_result_error_nomem(context);
  } else {
    if (!*instance) {
      *instance = PyObject_CallNoArgs(cb->callable);
      if (!*instance) fail(context, cb, "user-defined aggregate's '__init__' method raised error");
    }
    if (*instance)
      call_with_row(context, *instance, cb->state->name_step, count, values,
                    "user-defined aggregate's 'step' method not defined",
                    "user-defined aggregate's 'step' method raised error");
  }
  PyGILState_Release(gil);
}

/* value() or finalize(): its answer is the result */
static void call_for_result(hdb_context *context, PyObject *instance, PyObject *name, const char *missing,
                            const char *raised) {
  callback *cb = hdb_user_data(context);
  PyObject *answer = PyObject_CallMethodNoArgs(instance, name);
  if (!answer)
    fail(context, cb, method_message(missing, raised));
  else if (convert_result(context, answer) < 0)
    fail(context, cb, raised);
  Py_XDECREF(answer);
}

static void on_final(hdb_context *context) {
  PyGILState_STATE gil = PyGILState_Ensure();
  callback *cb = hdb_user_data(context);
  PyObject **instance = hdb_aggregate_context(context, 0);
  if (instance && *instance) { /* else no row was seen, or __init__ failed */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    call_for_result(context, *instance, cb->state->name_finalize,
                    "user-defined aggregate's 'finalize' method not defined",
                    "user-defined aggregate's 'finalize' method raised error");
    PyErr_Restore(type, value, traceback);
    Py_CLEAR(*instance);
  }
  PyGILState_Release(gil);
}

static void on_value(hdb_context *context) {
  PyGILState_STATE gil = PyGILState_Ensure();
  callback *cb = hdb_user_data(context);
  PyObject **instance = hdb_aggregate_context(context, 0);
  if (instance && *instance)
    call_for_result(context, *instance, cb->state->name_value, "user-defined aggregate's 'value' method not defined",
                    "user-defined aggregate's 'value' method raised error");
  PyGILState_Release(gil);
}

static void on_inverse(hdb_context *context, int count, hdb_value **values) {
  PyGILState_STATE gil = PyGILState_Ensure();
  callback *cb = hdb_user_data(context);
  PyObject **instance = hdb_aggregate_context(context, 0);
  if (instance && *instance)
    call_with_row(context, *instance, cb->state->name_inverse, count, values,
                  "user-defined aggregate's 'inverse' method not defined",
                  "user-defined aggregate's 'inverse' method raised error");
  PyGILState_Release(gil);
}

/* ---- registering ---- */

enum kind { SCALAR, AGGREGATE, WINDOW };

/* The engine takes the callback over, also when it fails. */
static int register_function(connection *c, const char *name, int count, int flags, PyObject *callable,
                             enum kind kind) {
  callback *cb = NULL;
  hdb_destructor destroy = callable ? callback_free : NULL;
  if (callable && !(cb = callback_new(c, callable))) return -1;
  switch (kind) {
  case SCALAR:
    return hdb_create_function(c->db, name, count, flags, cb, callable ? on_call : NULL, NULL, NULL, destroy);
  case AGGREGATE:
    return hdb_create_function(c->db, name, count, flags, cb, NULL, callable ? on_step : NULL,
                               callable ? on_final : NULL, destroy);
  default:
    if (!callable) return hdb_create_window_function(c->db, name, count, flags, NULL, NULL, NULL, NULL, NULL, NULL);
    return hdb_create_window_function(c->db, name, count, flags, cb, on_step, on_final, on_value, on_inverse,
                                      destroy);
  }
}

static PyObject *create(connection *c, const char *name, int count, int flags, PyObject *callable, enum kind kind,
                        const char *message) {
  static const char *const methods[] = {"create_function", "create_aggregate", "create_window_function"};
  if (!callback_begin_local(c, methods[kind])) return NULL;
  int rc = register_function(c, name, count, flags, callable == Py_None ? NULL : callable, kind);
  if (rc > 0) {
    if (message)
      RAISE(c->state, EXC_OPERATIONAL, "%s", message);
    else
      RAISE(c->state, EXC_PROGRAMMING, "%s", hdb_errstr(rc));
  }
  callback_end(c);
  if (rc != HDB_OK) return NULL;
  Py_RETURN_NONE;
}

static const char *const function_names[] = {"name", "narg", "func", "deterministic"};
static const arguments_spec function_spec = {"create_function", function_names, 4, 3, 3, "positional ", 10};

PyObject *connection_create_function(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *v[4];
  const char *name;
  int count, deterministic = 0;
  if (callback_warn_keywords("create_function", "'name', 'narg' and 'func'", true,
                             kwnames && PyVectorcall_NARGS((size_t)nargs) < 3) < 0 ||
      arguments_parse(&function_spec, args, nargs, kwnames, v) < 0 ||
      arguments_string("create_function", "argument 'name'", v[0], &name) < 0 || arguments_int(v[1], &count) < 0)
    return NULL;
  if (v[3] && (deterministic = PyObject_IsTrue(v[3])) < 0) return NULL;
  return create((connection *)self, name, count, deterministic ? HDB_DETERMINISTIC : 0, v[2], SCALAR,
                "Error creating function");
}

static const char *const aggregate_names[] = {"name", "n_arg", "aggregate_class"};
static const arguments_spec aggregate_spec = {"create_aggregate", aggregate_names, 3, 3, 3, "", 10};

PyObject *connection_create_aggregate(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *v[3];
  const char *name;
  int count;
  if (callback_warn_keywords("create_aggregate", "'name', 'n_arg' and 'aggregate_class'", true,
                             kwnames && PyVectorcall_NARGS((size_t)nargs) < 3) < 0 ||
      arguments_parse(&aggregate_spec, args, nargs, kwnames, v) < 0 ||
      arguments_string("create_aggregate", "argument 'name'", v[0], &name) < 0 || arguments_int(v[1], &count) < 0)
    return NULL;
  return create((connection *)self, name, count, 0, v[2], AGGREGATE, "Error creating aggregate");
}

PyObject *connection_create_window_function(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  const char *name;
  int count;
  if (arguments_exactly("create_window_function", nargs, 3) < 0 ||
      arguments_string("create_window_function", "argument 1", args[0], &name) < 0 ||
      arguments_int(args[1], &count) < 0)
    return NULL;
  return create((connection *)self, name, count, 0, args[2], WINDOW, NULL);
}
