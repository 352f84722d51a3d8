/* Arrays of pages: they grow without being copied, begin at a page (a vector never straddles more cache lines than it
 * must), and large ones ask for large pages, since a walk touches them at random. Memory that was not written yet is not
 * held. Where the system has no mremap: aligned memory, copied when it grows. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdlib.h>
#include <sys/mman.h>

#include "hnsw/internal.h"

enum { LARGE_PAGE = 2 << 20, SMALL_PAGE = 4096 };

#ifdef __linux__
/* Room of this size at a large page's begin, nothing behind it yet. */
static void *aligned_room(size_t bytes) {
  char *p = mmap(NULL, bytes + LARGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return p;
  size_t before = -(uintptr_t)p % LARGE_PAGE;
  if (before) munmap(p, before);
  if (before < LARGE_PAGE) munmap(p + before + bytes, LARGE_PAGE - before);
  return p + before;
}

/* Pages move, bytes do not. */
static void *grow_large(const region *r, size_t bytes) {
  void *to = aligned_room(bytes);
  if (to == MAP_FAILED) return to;
  void *p = r->p ? mremap(r->p, r->bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to)
                 : mmap(to, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (p == MAP_FAILED) munmap(to, bytes);
#ifdef MADV_HUGEPAGE
  else
    madvise(p, bytes, MADV_HUGEPAGE); /* a wish: nothing depends on it */
#endif
  return p;
}

status region_grow(region *r, size_t bytes) {
  bool large = bytes >= LARGE_PAGE;
  size_t page = large ? LARGE_PAGE / 4 : SMALL_PAGE;
  bytes = (bytes + page - 1) / page * page;
  if (bytes <= r->bytes) return HDB_OK;
  void *p = large  ? grow_large(r, bytes)
            : r->p ? mremap(r->p, r->bytes, bytes, MREMAP_MAYMOVE)
                   : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return HDB_NOMEM;
  *r = (region){p, bytes};
  return HDB_OK;
}

void region_free(region *r) {
  if (r->p) munmap(r->p, r->bytes);
  *r = (region){0};
}
#else
status region_grow(region *r, size_t bytes) {
  void *p;
  if (bytes <= r->bytes) return HDB_OK;
  if (posix_memalign(&p, SMALL_PAGE, bytes) != 0) return HDB_NOMEM;
  if (r->bytes) memcpy(p, r->p, r->bytes);
  memset((char *)p + r->bytes, 0, bytes - r->bytes);
  free(r->p);
  *r = (region){p, bytes};
  return HDB_OK;
}

void region_free(region *r) {
  free(r->p);
  *r = (region){0};
}
#endif
