/* What serve.c and remote.c say first (process.h has the order); private to this folder. */
#ifndef HDB_KV_GREETING_H
#define HDB_KV_GREETING_H

#include <stdint.h>

enum { GREETING_MAGIC = 0x42444c48, GREETING_PROTOCOL = 2, GREETING_TOKEN = 16, GREETING_CHALLENGE = 32 };
enum { GREETING_CONTROL = 1, GREETING_CHANNEL = 2 };
enum { GREETING_WANTS_PROOF = 1 };

typedef struct greeting_owner {
  uint32_t magic, protocol;
  uint8_t challenge[GREETING_CHALLENGE];
  uint32_t flags;
} greeting_owner;
_Static_assert(sizeof(greeting_owner) == 44, "as it is sent");

typedef struct greeting_client {
  uint32_t magic, protocol;
  uint32_t kind, pid;
  uint64_t client;
  uint8_t token[GREETING_TOKEN];
  uint8_t proof[GREETING_CHALLENGE];
} greeting_client;
_Static_assert(sizeof(greeting_client) == 72, "as it is sent");

enum fetch_how { FETCH_SEEK, FETCH_AFTER, FETCH_UP_TO, FETCH_BEFORE, FETCH_LAST };

#endif
