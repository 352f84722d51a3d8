/* callbacks.h: what the files with callbacks share.
 *
 * A callback runs on the thread that called the engine, which holds the connection's turn and not the GIL.
 * Its callable lives until the engine says so (callback_free as destructor) or until it is replaced.
 */
#ifndef HDB_PY_CALLBACKS_H
#define HDB_PY_CALLBACKS_H

#include "py/objects.h"

callback *callback_new(connection *c, PyObject *callable);
/* Methods of a callback's connection: checks, and the turn. */
bool callback_begin(connection *c);
/* The same, of a method that only the engine in this process has. */
bool callback_begin_local(connection *c, const char *method);
void callback_end(connection *c);
/* Python 3.13 warns of keywords that will be positional only: "'name', 'narg' and 'func'". */
int callback_warn_keywords(const char *function, const char *names, bool several, bool by_keyword);

#endif
