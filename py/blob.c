/* blob.c: Blob, one value read and written in place (Python 3.11 and later have it; ours is in all).
 *
 * A blob keeps its length; reads and writes beyond its end are errors. An offset of its own makes it a
 * file-like object; indexes and slices leave the offset alone. Rows changed elsewhere end it (HDB_ABORT).
 */
#include "py/objects.h"

static bool check(blob *b) {
  connection *c = b->connection;
  if (!connection_check_thread(c) || !connection_check_open(c)) return false;
  if (b->handle) return true;
  RAISE(c->state, EXC_PROGRAMMING, "Cannot operate on a closed blob.");
  return false;
}

static bool begin(blob *b) {
  if (!check(b)) return false;
  turn_take(b->connection);
  if (check(b)) return true;
  turn_release(b->connection);
  return false;
}

static void failed(blob *b, int rc) { errors_raise(b->connection->state, b->connection->db, rc); }

blob *blob_new(connection *c, hdb_blob *handle) {
  PyTypeObject *type = c->state->blob_type;
  blob *b = (blob *)type->tp_alloc(type, 0);
  if (!b) return NULL;
  b->connection = (connection *)Py_NewRef((PyObject *)c);
  b->handle = handle;
  LIST_ADD(c->blobs, b);
  return b;
}

void blob_close_now(blob *b) {
  hdb_blob *handle = b->handle;
  if (!handle) return;
  b->handle = NULL;
  Py_BEGIN_ALLOW_THREADS
  hdb_blob_close(handle);
  Py_END_ALLOW_THREADS
}

static PyObject *read_bytes(blob *b, Py_ssize_t length, int offset) {
  PyObject *bytes = PyBytes_FromStringAndSize(NULL, length);
  if (!bytes) return NULL;
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_blob_read(b->handle, PyBytes_AS_STRING(bytes), (int)length, offset);
  Py_END_ALLOW_THREADS
  if (rc == HDB_OK) return bytes;
  Py_DECREF(bytes);
  failed(b, rc);
  return NULL;
}

static int write_bytes(blob *b, const void *p, Py_ssize_t length, Py_ssize_t offset) {
  if (length > hdb_blob_bytes(b->handle) - offset) {
    PyErr_SetString(PyExc_ValueError, "data longer than blob length");
    return -1;
  }
  int rc;
  Py_BEGIN_ALLOW_THREADS
  rc = hdb_blob_write(b->handle, p, (int)length, (int)offset);
  Py_END_ALLOW_THREADS
  if (rc == HDB_OK) return 0;
  failed(b, rc);
  return -1;
}

static PyObject *blob_close(PyObject *self, PyObject *unused) {
  blob *b = (blob *)self;
  if (!connection_check_thread(b->connection) || !connection_check_open(b->connection)) return NULL;
  turn_take(b->connection);
  blob_close_now(b);
  turn_release(b->connection);
  Py_RETURN_NONE;
}

static PyObject *blob_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  blob *b = (blob *)self;
  int length = -1;
  if (arguments_positional("read", nargs, 0, 1) < 0) return NULL;
  if (nargs && arguments_int(args[0], &length) < 0) return NULL;
  if (!begin(b)) return NULL;
  int left = hdb_blob_bytes(b->handle) - b->offset;
  if (length < 0 || length > left) length = left;
  PyObject *bytes = length ? read_bytes(b, length, b->offset) : PyBytes_FromStringAndSize(NULL, 0);
  if (bytes) b->offset += length;
  turn_release(b->connection);
  return bytes;
}

static PyObject *blob_write(PyObject *self, PyObject *data) {
  blob *b = (blob *)self;
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return NULL;
  int rc = -1;
  if (begin(b)) {
    rc = write_bytes(b, view.buf, view.len, b->offset);
    if (!rc) b->offset += (int)view.len;
    turn_release(b->connection);
  }
  PyBuffer_Release(&view);
  if (rc < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *blob_seek(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  blob *b = (blob *)self;
  int offset, origin = 0;
  if (arguments_positional("seek", nargs, 1, 2) < 0 || arguments_int(args[0], &offset) < 0) return NULL;
  if (PyVectorcall_NARGS((size_t)nargs) > 1 && arguments_int(args[1], &origin) < 0) return NULL;
  if (!check(b)) return NULL;
  int bytes = hdb_blob_bytes(b->handle);
  int64_t wanted = offset;
  if (origin == 1) {
    wanted += b->offset;
  } else if (origin == 2) {
    wanted += bytes;
  } else if (origin) {
    PyErr_SetString(PyExc_ValueError, "'origin' should be os.SEEK_SET, os.SEEK_CUR, or os.SEEK_END");
    return NULL;
  }
  if (wanted > INT32_MAX) {
    PyErr_SetString(PyExc_OverflowError, "seek offset results in overflow");
    return NULL;
  }
  if (wanted < 0 || wanted > bytes) {
    PyErr_SetString(PyExc_ValueError, "offset out of blob range");
    return NULL;
  }
  b->offset = (int)wanted;
  Py_RETURN_NONE;
}

static PyObject *blob_tell(PyObject *self, PyObject *unused) {
  blob *b = (blob *)self;
  return check(b) ? PyLong_FromLong(b->offset) : NULL;
}

static PyObject *blob_enter(PyObject *self, PyObject *unused) { return check((blob *)self) ? Py_NewRef(self) : NULL; }

static PyObject *blob_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  blob *b = (blob *)self;
  if (arguments_positional("__exit__", nargs, 3, 3) < 0 || !begin(b)) return NULL;
  blob_close_now(b);
  turn_release(b->connection);
  Py_RETURN_FALSE;
}

static Py_ssize_t blob_length(PyObject *self) {
  blob *b = (blob *)self;
  return check(b) ? hdb_blob_bytes(b->handle) : -1;
}

static Py_ssize_t index_of(blob *b, PyObject *key) {
  Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
  if (i == -1 && PyErr_Occurred()) return -1;
  Py_ssize_t length = hdb_blob_bytes(b->handle);
  if (i < 0) i += length;
  if (i >= 0 && i < length) return i;
  PyErr_SetString(PyExc_IndexError, "Blob index out of range");
  return -1;
}

static int slice_of(blob *b, PyObject *key, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step, Py_ssize_t *length) {
  if (PySlice_Unpack(key, start, stop, step) < 0) return -1;
  *length = PySlice_AdjustIndices(hdb_blob_bytes(b->handle), start, stop, *step);
  return 0;
}

static PyObject *get_slice(blob *b, PyObject *key) {
  Py_ssize_t start, stop, step, length;
  if (slice_of(b, key, &start, &stop, &step, &length) < 0) return NULL;
  if (step == 1 || !length) return read_bytes(b, length, (int)start);
  Py_ssize_t low = step > 0 ? start : start + (length - 1) * step;
  PyObject *span = read_bytes(b, (length - 1) * Py_ABS(step) + 1, (int)low);
  PyObject *bytes = span ? PyBytes_FromStringAndSize(NULL, length) : NULL;
  for (Py_ssize_t i = 0; bytes && i < length; i++)
    PyBytes_AS_STRING(bytes)[i] = PyBytes_AS_STRING(span)[start - low + i * step];
  Py_XDECREF(span);
  return bytes;
}

static PyObject *blob_subscript(PyObject *self, PyObject *key) {
  blob *b = (blob *)self;
  PyObject *answer = NULL;
  if (!begin(b)) return NULL;
  if (PyIndex_Check(key)) {
    Py_ssize_t i = index_of(b, key);
    PyObject *byte = i < 0 ? NULL : read_bytes(b, 1, (int)i);
    if (byte) answer = PyLong_FromLong((unsigned char)PyBytes_AS_STRING(byte)[0]);
    Py_XDECREF(byte);
  } else if (PySlice_Check(key)) {
    answer = get_slice(b, key);
  } else {
    PyErr_SetString(PyExc_TypeError, "Blob indices must be integers");
  }
  turn_release(b->connection);
  return answer;
}

static int set_index(blob *b, PyObject *key, PyObject *value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "Blob doesn't support item deletion");
    return -1;
  }
  if (!PyLong_Check(value)) {
    PyErr_Format(PyExc_TypeError, "'%s' object cannot be interpreted as an integer", Py_TYPE(value)->tp_name);
    return -1;
  }
  Py_ssize_t i = index_of(b, key);
  if (i < 0) return -1;
  long n = PyLong_AsLong(value);
  if (n == -1 && PyErr_Occurred()) PyErr_Clear();
  if (n < 0 || n > 255) {
    PyErr_SetString(PyExc_ValueError, "byte must be in range(0, 256)");
    return -1;
  }
  unsigned char byte = (unsigned char)n;
  return write_bytes(b, &byte, 1, i);
}

static int set_slice(blob *b, PyObject *key, PyObject *value) {
  Py_ssize_t start, stop, step, length;
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "Blob doesn't support slice deletion");
    return -1;
  }
  if (slice_of(b, key, &start, &stop, &step, &length) < 0) return -1;
  if (!length) return 0;
  Py_buffer view;
  if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) return -1;
  int rc = -1;
  if (view.len != length) {
    PyErr_SetString(PyExc_IndexError, "Blob slice assignment is wrong size");
  } else if (step == 1) {
    rc = write_bytes(b, view.buf, length, start);
  } else {
    Py_ssize_t low = step > 0 ? start : start + (length - 1) * step, bytes = (length - 1) * Py_ABS(step) + 1;
    PyObject *span = read_bytes(b, bytes, (int)low);
    for (Py_ssize_t i = 0; span && i < length; i++)
      PyBytes_AS_STRING(span)[start - low + i * step] = ((char *)view.buf)[i];
    if (span) rc = write_bytes(b, PyBytes_AS_STRING(span), bytes, low);
    Py_XDECREF(span);
  }
  PyBuffer_Release(&view);
  return rc;
}

static int blob_set(PyObject *self, PyObject *key, PyObject *value) {
  blob *b = (blob *)self;
  int rc = -1;
  if (!begin(b)) return -1;
  if (PyIndex_Check(key))
    rc = set_index(b, key, value);
  else if (PySlice_Check(key))
    rc = set_slice(b, key, value);
  else
    PyErr_SetString(PyExc_TypeError, "Blob indices must be integers");
  turn_release(b->connection);
  return rc;
}

static int blob_traverse(PyObject *self, visitproc visit, void *arg) {
#if PY_AT_LEAST(9)
  Py_VISIT(Py_TYPE(self));
#endif
  Py_VISIT(((blob *)self)->connection);
  return 0;
}

static int blob_clear(PyObject *self) {
  blob *b = (blob *)self;
  connection *c = b->connection;
  if (!c) return 0;
  if (b->handle) {
    turn_take(c);
    blob_close_now(b);
    turn_release(c);
  }
  LIST_REMOVE(c->blobs, b);
  b->connection = NULL;
  Py_DECREF(c);
  return 0;
}

static void blob_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (((blob *)self)->weakrefs) PyObject_ClearWeakRefs(self);
  blob_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef blob_methods[] = {
    {"close", blob_close, METH_NOARGS, "close($self, /)\n--\n\nClose the blob."},
    {"read", (PyCFunction)(void (*)(void))blob_read, METH_FASTCALL,
     "read($self, length=-1, /)\n--\n\nRead data at the current offset position.\n\n"
     "A negative length reads to the end of the blob."},
    {"write", blob_write, METH_O,
     "write($self, data, /)\n--\n\nWrite data at the current offset.\n\n"
     "The length of a blob cannot change; writing beyond its end is an error."},
    {"seek", (PyCFunction)(void (*)(void))blob_seek, METH_FASTCALL,
     "seek($self, offset, origin=0, /)\n--\n\nSet the current access position to offset, counted from origin:\n"
     "os.SEEK_SET, os.SEEK_CUR or os.SEEK_END."},
    {"tell", blob_tell, METH_NOARGS, "tell($self, /)\n--\n\nReturn the current access position for the blob."},
    {"__enter__", blob_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nBlob context manager enter."},
    {"__exit__", (PyCFunction)(void (*)(void))blob_exit, METH_FASTCALL,
     "__exit__($self, type, val, tb, /)\n--\n\nBlob context manager exit."},
    {NULL},
};

#if PY_AT_LEAST(9)
static PyMemberDef blob_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(blob, weakrefs), READONLY, NULL},
    {NULL},
};
#endif

static PyType_Slot blob_slots[] = {
    {Py_tp_traverse, blob_traverse},
    {Py_tp_clear, blob_clear},
    {Py_tp_dealloc, blob_dealloc},
    {Py_tp_methods, blob_methods},
#if PY_AT_LEAST(9)
    {Py_tp_members, blob_members},
#endif
    {Py_mp_length, blob_length},
    {Py_mp_subscript, blob_subscript},
    {Py_mp_ass_subscript, blob_set},
    {0, NULL},
};
static PyType_Spec blob_spec = {
    .name = "sqlite3.Blob",
    .basicsize = sizeof(blob),
#if PY_AT_LEAST(10)
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
#endif
    .slots = blob_slots,
};

PyTypeObject *blob_type_make(PyObject *module) {
  PyTypeObject *type = module_make_type(module, &blob_spec);
#if !PY_AT_LEAST(10)
  if (type) type->tp_new = NULL;
#endif
#if !PY_AT_LEAST(9)
  if (type) type->tp_weaklistoffset = offsetof(blob, weakrefs);
#endif
  return type;
}
