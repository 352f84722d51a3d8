/* module.h: what the types of _heliosdb share.
 *
 * Each import of the module owns one struct module_state; each object of ours keeps a pointer to it, and each
 * type of ours keeps the module alive. Functions that travel between files carry their file's name as prefix.
 * Unless said otherwise every function here needs the GIL, and reports failure by NULL or -1 with a Python
 * exception set.
 */
#ifndef HDB_PY_MODULE_H
#define HDB_PY_MODULE_H

#include "py/compat.h"
#include "py/backend.h"

/* DB-API's exception classes, in the order of module_state.exceptions */
enum {
  EXC_WARNING, EXC_ERROR, EXC_INTERFACE, EXC_DATABASE, EXC_INTERNAL, EXC_OPERATIONAL, EXC_PROGRAMMING,
  EXC_INTEGRITY, EXC_DATA, EXC_NOT_SUPPORTED, EXC_COUNT
};

/* Names that are looked up while statements run, made once. */
#define MODULE_NAMES(X)                                                                                                \
  X(cursor) X(execute) X(executemany) X(executescript) X(upper) X(step) X(finalize) X(inverse) X(value)               \
  X(__adapt__) X(__conform__) X(sqlite_errorcode) X(sqlite_errorname) X(conflict_table) X(conflict_key) X(factory)

typedef struct module_state {
  PyObject *exceptions[EXC_COUNT];
  PyTypeObject *connection_type, *cursor_type, *row_type, *blob_type, *statement_type, *protocol_type;
  PyObject *adapters;   /* (type, protocol) -> callable */
  PyObject *converters; /* upper-case type name -> callable(bytes) */
  PyObject *empty_tuple;
  bool callback_tracebacks;
  bool base_type_adapted; /* somebody registered an adapter for int, float, str or bytearray */
  bool shared_cache;
#define X(n) PyObject *name_##n;
  MODULE_NAMES(X)
#undef X
  struct connection *connections; /* all open ones, not counted */
  struct module_state *next; /* all living states, to find the one of a subclass of ours */
} module_state;

extern const char *const module_exception_names[EXC_COUNT];

/* The state behind a type of ours or a subclass of one. */
module_state *module_state_of(PyTypeObject *type);

/* constants.c: the SQLITE_* numbers of this interpreter's sqlite3; a result code's name or NULL */
int module_add_constants(PyObject *module);
const char *constants_error_name(int code);

/* ---- errors.c ---- */
#define RAISE(state, which, ...) PyErr_Format((state)->exceptions[which], __VA_ARGS__)
/* Raise what the last failing call on db left behind; rc is what it returned. */
void errors_raise(module_state *state, hdb *db, int rc);
/* The same from a code alone. */
void errors_raise_code(module_state *state, int rc, const char *message);
/* A Python exception inside a callback: swallowed, shown first when enable_callback_tracebacks(True). */
void errors_in_callback(module_state *state, PyObject *callable);

/* ---- arguments.c: our own argument parsing, with CPython's words ---- */
typedef struct arguments_spec {
  const char *function;     /* as in messages: "create_function" */
  const char *const *names; /* all parameters in order */
  int count;                /* their number */
  int positional;           /* how many may be given by position */
  int required;             /* the first so many must be given */
  const char *kind;         /* "positional " where CPython's message has it */
  int named_since;          /* before Python 3.n its messages say "function" */
} arguments_spec;
/* Sort a vectorcall's arguments into out[count] (borrowed, NULL where absent). */
int arguments_parse(const arguments_spec *spec, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                    PyObject **out);
/* The same for tp_init's tuple and dict. */
int arguments_parse_tuple(const arguments_spec *spec, PyObject *args, PyObject *kwargs, PyObject **out);
int arguments_positional(const char *function, Py_ssize_t given, Py_ssize_t least, Py_ssize_t most);
/* The same for methods whose CPython twin also takes its class: other words from 3.11 on. */
int arguments_exactly(const char *function, Py_ssize_t given, Py_ssize_t count);
/* what: "argument 1" or "argument 'name'" */
int arguments_string(const char *function, const char *what, PyObject *o, const char **out);
int arguments_bad(const char *function, const char *what, const char *expected, PyObject *o);
int arguments_int(PyObject *o, int *out);

/* ---- microprotocols.c ---- */
PyObject *microprotocols_adapt(module_state *state, PyObject *o, PyObject *protocol, PyObject *alternative);
int microprotocols_add(module_state *state, PyObject *type, PyObject *protocol, PyObject *adapter);
PyTypeObject *protocol_type_make(PyObject *module);

/* ---- convert.c: values between Python and the engine ---- */
PyObject *convert_value(hdb_value *v);
PyObject *convert_values(int count, hdb_value **values); /* a new tuple */
int convert_result(hdb_context *context, PyObject *value);

PyTypeObject *module_make_type(PyObject *module, PyType_Spec *spec);

#endif
