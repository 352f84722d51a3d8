/* compat.h: one Python C interface for CPython 3.8 to 3.13.
 *
 * What newer interpreters have is given to older ones under its own name, so that the rest of the folder
 * reads as if written for the newest. PY_AT_LEAST(n) asks for 3.n; a difference in behaviour or text
 * between interpreters is written at its place with it.
 */
#ifndef HDB_PY_COMPAT_H
#define HDB_PY_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdbool.h>
#include <stdint.h>

#define PY_AT_LEAST(minor) (PY_VERSION_HEX >= (0x03000000 | ((minor) << 16)))

#if !PY_AT_LEAST(9)
#define PyObject_Vectorcall _PyObject_Vectorcall
#define PyObject_CallNoArgs(f) _PyObject_CallNoArg(f)
#define Py_IS_TYPE(o, t) (Py_TYPE(o) == (t))
static inline PyObject *PyObject_CallOneArg(PyObject *function, PyObject *argument) {
  return _PyObject_Vectorcall(function, &argument, 1, NULL);
}
static inline PyObject *PyObject_CallMethodNoArgs(PyObject *self, PyObject *name) {
  return PyObject_CallMethodObjArgs(self, name, NULL);
}
static inline PyObject *PyObject_CallMethodOneArg(PyObject *self, PyObject *name, PyObject *argument) {
  return PyObject_CallMethodObjArgs(self, name, argument, NULL);
}
#endif

#if !PY_AT_LEAST(10)
static inline PyObject *Py_NewRef(PyObject *o) {
  Py_INCREF(o);
  return o;
}
static inline PyObject *Py_XNewRef(PyObject *o) {
  Py_XINCREF(o);
  return o;
}
#endif

#ifndef Py_TPFLAGS_IMMUTABLETYPE
#define Py_TPFLAGS_IMMUTABLETYPE 0
#endif

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
