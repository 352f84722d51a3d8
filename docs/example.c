/* HeliosDB Nano from C: a table, a transaction, a prepared query. Whoever knows sqlite3.h knows this interface.
 *
 *   cc -I. docs/example.c -o example ...   (the tests build and run it)
 */
#include <stdio.h>

#include "sql/hdb.h"

static int print_row(void *context, int n, char **values, char **names) {
  for (int i = 0; i < n; i++) printf("%s%s=%s", i ? ", " : "", names[i], values[i] ? values[i] : "NULL");
  printf("\n");
  return 0;
}

int main(void) {
  hdb *db;
  hdb_stmt *insert;
  char *message = NULL;
  if (hdb_open(":memory:", &db, HDB_OPEN_READWRITE | HDB_OPEN_CREATE) != HDB_OK) goto failed;
  if (hdb_exec(db, "CREATE TABLE city(name TEXT PRIMARY KEY, people INTEGER)", NULL, NULL, &message) != HDB_OK) goto failed;

  /* one transaction, one statement compiled once */
  if (hdb_exec(db, "BEGIN", NULL, NULL, &message) != HDB_OK) goto failed;
  if (hdb_prepare(db, "INSERT INTO city VALUES(?, ?)", -1, 0, &insert, NULL) != HDB_OK) goto failed;
  static const struct {
    const char *name;
    int people;
  } cities[] = {{"Bern", 134794}, {"Zürich", 423193}, {"Basel", 174100}};
  for (size_t i = 0; i < sizeof cities / sizeof *cities; i++) {
    hdb_bind_text(insert, 1, cities[i].name, -1, HDB_STATIC);
    hdb_bind_int64(insert, 2, cities[i].people);
    if (hdb_step(insert) != HDB_DONE) goto failed;
    hdb_reset(insert);
  }
  hdb_finalize(insert);
  if (hdb_exec(db, "COMMIT", NULL, NULL, &message) != HDB_OK) goto failed;

  if (hdb_exec(db, "SELECT name, people FROM city ORDER BY people DESC", print_row, NULL, &message) != HDB_OK) goto failed;
  return hdb_close(db);

failed:
  fprintf(stderr, "%s\n", message ? message : hdb_errmsg(db));
  hdb_free(message);
  hdb_close_v2(db);
  return 1;
}
