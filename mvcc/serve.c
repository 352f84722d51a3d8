/* The owner's answers: sessions of clients, the views they hold, their transactions' commits.
 *
 * S1  A lease is a view kept for a client under a number; it counts as an open transaction, so nothing that it could need
 *     for reading or for validation is forgotten.
 * S2  A guest is a client's transaction as far as the owner must know it: its row ids, its turn, its commit. It has one
 *     transaction object, taken by one call at a time; others that come for it wait.
 * S3  When a client goes, its turn ends first (gone), then its leases and guests (end).
 * S4  What a client sends is checked for form. What it claims (that a key was absent) is trusted as this process's own SQL
 *     is: who may connect may write in the directory.
 * S5  The leases of a client that has not read for a minute may go (sessions_drop_idle). If it reads on, it is told that
 *     they are gone, and reads AS OF their times.
 * S6  A commit that its client gave up waiting for may still lie in a socket, and be read after the client has asked again
 *     or rolled back. So each needs its permit (kv/process.h), which the client has then withdrawn. Numbers that committed
 *     or ended are remembered, and never commit (again).
 * Cost: a commit request is copied once into the guest's write set, 100 ns a row.
 */
#include <stdlib.h>
#include <unistd.h>

#include "mvcc/process.h"

enum { OVER_MAX = 256, SETTING_NAME_MAX = 256 };

typedef struct lease {
  struct lease *next;
  uint64_t id;
  _Atomic int64_t time; /* 1: being taken */
  view *v;
} lease;

typedef struct guest {
  struct guest *next;
  uint64_t number;
  txn *t;
  bool busy, over; /* over: END came while it was busy */
  tree_info **claimed;
  size_t claimed_n, claimed_capacity;
} guest;

typedef struct branch_use {
  uint32_t id;
  int64_t count;
} branch_use;

struct session {
  session *next;
  engine *e;
  uint64_t client;
  permit_word *permits; /* NULL: none */
  uid_t user;
  pthread_mutex_t lock;
  pthread_cond_t freed;
  lease *leases;
  uint64_t lease_ids;
  guest *guests;
  int64_t used_ms;         /* when it last read */
  uint64_t over[OVER_MAX]; /* S6: a ring */
  size_t over_n;
  branch_use *uses;
  size_t uses_n;
  bool gone;
};

/* ---- leases ---- */

int64_t sessions_oldest_view(engine *e, int64_t newest) {
  processes *p = e->processes;
  if (!p) return newest;
  pthread_mutex_lock(&p->sessions_lock);
  for (session *s = p->sessions; s; s = s->next) {
    pthread_mutex_lock(&s->lock);
    for (lease *l = s->leases; l; l = l->next) {
      int64_t time = atomic_load(&l->time);
      if (time < newest) newest = time;
    }
    pthread_mutex_unlock(&s->lock);
  }
  pthread_mutex_unlock(&p->sessions_lock);
  return newest;
}

static bool lease_snapshot(void *data, uint64_t id, const kv_snapshot **out, void **hold) {
  session *s = data;
  pthread_mutex_lock(&s->lock);
  lease *l = s->leases;
  s->used_ms = engine_ticks_ms();
  while (l && l->id != id) l = l->next;
  view *v = l && l->v ? view_hold(l->v) : NULL;
  pthread_mutex_unlock(&s->lock);
  *hold = v;
  if (v) *out = v->snapshot;
  return v != NULL;
}

/* S5 */
void sessions_drop_idle(engine *e, int64_t idle_ms) {
  processes *p = e->processes;
  int64_t before = engine_ticks_ms() - idle_ms;
  lease *dropped = NULL;
  if (!p) return;
  pthread_mutex_lock(&p->sessions_lock);
  for (session *s = p->sessions; s; s = s->next) {
    pthread_mutex_lock(&s->lock);
    for (lease **l = &s->leases; s->used_ms < before && *l;) {
      lease *one = *l;
      if (!one->v) { /* being taken */
        l = &one->next;
        continue;
      }
      *l = one->next;
      one->next = dropped, dropped = one;
    }
    pthread_mutex_unlock(&s->lock);
  }
  pthread_mutex_unlock(&p->sessions_lock);
  while (dropped) {
    lease *l = dropped;
    dropped = l->next;
    view_release(l->v);
    atomic_fetch_sub(&e->open_count, 1);
    free(l);
  }
}

static void lease_release(void *hold) {
  view_release(hold);
}

static void lease_free(session *s, lease *l) {
  if (l->v) view_release(l->v);
  atomic_fetch_sub(&s->e->open_count, 1);
  free(l);
}

static status lease_new(session *s, lease **out) {
  lease *l = calloc(1, sizeof *l);
  if (!l) return HDB_NOMEM;
  atomic_init(&l->time, 1);
  atomic_fetch_add(&s->e->open_count, 1); /* T1 of txn.c: before the view is chosen */
  pthread_mutex_lock(&s->lock);
  l->id = ++s->lease_ids;
  s->used_ms = engine_ticks_ms();
  l->next = s->leases, s->leases = l;
  pthread_mutex_unlock(&s->lock);
  view *v;
  status rc = view_newest(s->e, &v);
  pthread_mutex_lock(&s->lock);
  if (rc == HDB_OK) {
    l->v = v;
    atomic_store(&l->time, v->time ? v->time : 1);
  } else {
    for (lease **p = &s->leases; *p; p = &(*p)->next) {
      if (*p != l) continue;
      *p = l->next;
      break;
    }
  }
  pthread_mutex_unlock(&s->lock);
  if (rc != HDB_OK) {
    lease_free(s, l);
    return rc;
  }
  *out = l;
  return HDB_OK;
}

static status drop_lease(session *s, reader *r) {
  uint64_t id = read_number(r);
  pthread_mutex_lock(&s->lock);
  lease **p = &s->leases;
  while (*p && (*p)->id != id) p = &(*p)->next;
  lease *l = *p;
  if (l) *p = l->next;
  pthread_mutex_unlock(&s->lock);
  if (l) lease_free(s, l);
  return r->failed ? HDB_PROTOCOL : HDB_OK;
}

/* The groups that commits touched after `since`: count, then each: time behind since, tree, whole, bound. Or 0 and a
 * floor that says: all of them. */
static void put_touched(engine *e, int64_t since, buf *reply) {
  processes *p = e->processes;
  pthread_mutex_lock(&p->touched_lock);
  bool known = since >= p->touched_floor;
  buf_byte(reply, known);
  size_t from = p->touched_n;
  while (known && from > 0 && p->touched[from - 1].time > since) from--;
  buf_varint(reply, known ? p->touched_n - from : 0);
  for (size_t i = from; known && i < p->touched_n; i++) {
    const touched_group *g = &p->touched[i];
    buf_varint(reply, (uint64_t)(g->time - since));
    buf_varint(reply, (uint64_t)g->tree << 1 | g->whole);
    put_bytes(reply, slice_of(p->touched_bytes.p + g->at, g->lower_n));
  }
  pthread_mutex_unlock(&p->touched_lock);
}

static status take_view(session *s, reader *r, buf *reply) {
  lease *l;
  int64_t since = read_signed(r);
  if (r->failed) return HDB_PROTOCOL;
  TRY(lease_new(s, &l));
  buf_varint(reply, l->id);
  put_signed(reply, l->v->time);
  put_signed(reply, l->v->schema_time);
  put_touched(s->e, since, reply);
  return HDB_OK;
}

/* ---- guests ---- */

/* The guest of that number, ours until guest_leave. */
static status guest_enter(session *s, uint64_t number, guest **out) {
  status rc = HDB_OK;
  pthread_mutex_lock(&s->lock);
  guest *g;
  for (;;) {
    for (g = s->guests; g && g->number != number; g = g->next) {
    }
    if (!g || !g->busy) break;
    pthread_cond_wait(&s->freed, &s->lock);
  }
  if (s->gone) {
    rc = HDB_PROTOCOL;
  } else if (!g) {
    g = calloc(1, sizeof *g);
    rc = g ? txn_new(s->e, &g->t) : HDB_NOMEM;
    if (rc == HDB_OK) {
      g->number = number;
      g->t->guest = true;
      g->t->client = s->client, g->t->number = number;
      g->next = s->guests, s->guests = g;
    } else {
      free(g);
    }
  }
  if (rc == HDB_OK) g->busy = true, *out = g;
  pthread_mutex_unlock(&s->lock);
  return rc;
}

static void guest_free(guest *g) {
  for (size_t i = 0; i < g->claimed_n; i++) tree_release_claims(g->claimed[i], g->t);
  txn_free(g->t);
  free(g->claimed);
  free(g);
}

static void guest_leave(session *s, guest *g, bool over) {
  pthread_mutex_lock(&s->lock);
  g->busy = false;
  over = over || g->over || s->gone;
  if (over) {
    for (guest **p = &s->guests; *p; p = &(*p)->next) {
      if (*p != g) continue;
      *p = g->next;
      break;
    }
  }
  pthread_cond_broadcast(&s->freed);
  pthread_mutex_unlock(&s->lock);
  if (over) guest_free(g);
}

/* Under the lock. */
static bool is_over(const session *s, uint64_t number) {
  for (size_t i = 0; i < OVER_MAX; i++)
    if (s->over[i] == number) return true;
  return false;
}

static void note_over(session *s, uint64_t number) {
  pthread_mutex_lock(&s->lock);
  if (!is_over(s, number)) s->over[s->over_n++ % OVER_MAX] = number;
  pthread_mutex_unlock(&s->lock);
}

static status end_guest(session *s, uint64_t number) {
  note_over(s, number);
  pthread_mutex_lock(&s->lock);
  guest **p = &s->guests;
  while (*p && (*p)->number != number) p = &(*p)->next;
  guest *g = *p;
  if (g && g->busy)
    g->over = true, g = NULL;
  else if (g)
    *p = g->next;
  pthread_mutex_unlock(&s->lock);
  if (g) guest_free(g);
  return HDB_OK;
}

static status take_turn(session *s, reader *r) {
  uint64_t number = read_number(r), timeout = read_number(r);
  guest *g;
  if (r->failed || timeout > INT32_MAX) return HDB_PROTOCOL;
  TRY(guest_enter(s, number, &g));
  status rc = txn_is_open(g->t) ? HDB_MISUSE : txn_begin(g->t, TXN_IMMEDIATE, (int)timeout);
  guest_leave(s, g, rc != HDB_OK);
  return rc;
}

static status claim_rowids(session *s, reader *r, buf *reply) {
  uint64_t number = read_number(r), tree = read_number(r), branch = read_number(r), count = read_number(r);
  int64_t floor = read_signed(r), view_time = read_signed(r), first = 0;
  guest *g;
  tree_info *i;
  if (r->failed || tree > UINT32_MAX || branch > UINT32_MAX || count < 1 || count > 1 << 20)
    return HDB_PROTOCOL;
  TRY(tree_get(s->e, (uint32_t)tree, &i));
  TRY(guest_enter(s, number, &g));
  status rc = HDB_OK;
  txn *t = g->t;
  if (!t->open) {
    rc = txn_set_branch(t, (uint32_t)branch);
    t->view_time = view_time;
  }
  if (rc == HDB_OK && s->e->branches) rc = branch_rowid_floor(t, i);
  bool known = false;
  for (size_t k = 0; k < g->claimed_n; k++) known = known || g->claimed[k] == i;
  if (rc == HDB_OK && !known && g->claimed_n == g->claimed_capacity) {
    size_t capacity = g->claimed_capacity ? 2 * g->claimed_capacity : 4;
    tree_info **more = realloc(g->claimed, capacity * sizeof *more);
    if (more)
      g->claimed = more, g->claimed_capacity = capacity;
    else
      rc = HDB_NOMEM;
  }
  if (rc == HDB_OK && !known) g->claimed[g->claimed_n++] = i;
  if (rc == HDB_OK) rc = txn_claim_rowids(t, i, floor, (int64_t)count, &first);
  guest_leave(s, g, false);
  put_signed(reply, first);
  return rc;
}

/* ---- commits ---- */

static status read_writes(txn *t, reader *r) {
  uint64_t trees = read_number(r);
  for (; trees && !r->failed; trees--) {
    uint64_t id = read_number(r), flags = read_number(r), n = read_number(r);
    write_tree *w;
    if (r->failed || id > UINT32_MAX || flags > 3) return HDB_PROTOCOL;
    TRY(writeset_tree(&t->writes, (uint32_t)id, &w));
    TRY(tree_get(t->engine, (uint32_t)id, &w->info));
    if (flags & TREE_CLEARED) TRY(writeset_clear_tree(&t->writes, w));
    for (; n; n--) {
      uint64_t kind = read_number(r); /* base << 1 | put */
      slice key = read_bytes(r), value = kind & 1 ? read_bytes(r) : slice_of(NULL, 0);
      if (r->failed || kind >> 1 > BASE_PRESENT) return HDB_PROTOCOL;
      TRY(writeset_write(&t->writes, w, key, value, kind & 1 ? WRITE_PUT : WRITE_DELETE,
                         (enum write_base)(kind >> 1)));
    }
  }
  for (uint64_t n = read_number(r); n && !r->failed; n--) {
    uint64_t kind = read_number(r), tree = read_number(r), other = read_number(r);
    slice prefix = read_bytes(r), unless = read_bytes(r);
    if (r->failed || kind > FACT_NONE || tree > UINT32_MAX || other > UINT32_MAX) return HDB_PROTOCOL;
    TRY(writeset_fact(&t->writes, (uint8_t)kind, (uint32_t)tree, prefix, (uint32_t)other, unless));
  }
  for (uint64_t n = read_number(r); n && !r->failed; n--) {
    uint64_t tree = read_number(r), bounded = read_number(r);
    slice low = read_bytes(r), high = bounded ? read_bytes(r) : slice_of(NULL, 0);
    if (r->failed || tree > UINT32_MAX) return HDB_PROTOCOL;
    TRY(reads_add(&t->reads, (uint32_t)tree, low, bounded ? &high : NULL));
  }
  return r->failed ? HDB_PROTOCOL : HDB_OK;
}

static status read_setting(reader *r, char name[SETTING_NAME_MAX], slice *value) {
  slice text = read_bytes(r);
  *value = read_bytes(r);
  if (r->failed || text.n >= SETTING_NAME_MAX || memchr(text.p, 0, text.n)) return HDB_PROTOCOL;
  memcpy(name, text.p, text.n);
  name[text.n] = 0;
  return HDB_OK;
}

static status read_commit(txn *t, uint64_t flags, reader *r) {
  char name[SETTING_NAME_MAX];
  slice value;
  TRY(read_writes(t, r));
  if (!(flags & COMMIT_SETTING)) return HDB_OK;
  TRY(read_setting(r, name, &value));
  return txn_put_setting(t, name, value);
}

/* A4 of process.h */
static status find_again(session *s, guest *g, int64_t view_time, int64_t *time) {
  status rc = feed_find_request(s->e, view_time, s->client, g->number, time);
  return rc == HDB_NOTFOUND ? HDB_BUSY_SNAPSHOT : rc; /* it cannot be told: never a second time */
}

static status run_commit(session *s, guest *g, reader *r, buf *reply) {
  uint64_t flags = read_number(r), timeout = read_number(r), branch = read_number(r), policy = read_number(r);
  int64_t view_time = read_signed(r), time = 0;
  uint64_t place = read_number(r), permit_number = read_number(r);
  engine *e = s->e;
  txn *t = g->t;
  if (r->failed || timeout > INT32_MAX || branch > UINT32_MAX || policy > TXN_SERIALIZABLE || place > PERMITS_NONE)
    return HDB_PROTOCOL;
  pthread_mutex_lock(&s->lock);
  bool over = is_over(s, g->number);
  pthread_mutex_unlock(&s->lock);
  if (over && !(flags & COMMIT_AGAIN)) return HDB_BUSY_SNAPSHOT; /* S6: nobody waits for this answer */
  status rc = HDB_OK;
  if (flags & COMMIT_AGAIN) TRY(find_again(s, g, view_time, &time));
  if (!time) {
    if (!t->open) {
      TRY(txn_set_branch(t, (uint32_t)branch));
      atomic_fetch_add(&e->open_count, 1);
      t->open = true;
      t->view_time = view_time;
      atomic_store(&t->open_view_time, view_time ? view_time : 1);
    } else if (!t->has_turn || t->view_time != view_time) {
      return HDB_PROTOCOL;
    }
    t->policy = (enum txn_policy)policy;
    t->exclusive = flags & COMMIT_EXCLUSIVE;
    TRY(read_commit(t, flags, r));
    t->permit = place == PERMITS_NONE || !s->permits ? NULL : &s->permits[place];
    t->permit_number = permit_number;
    rc = queue_commit(e, t, (int)timeout);
    time = rc == HDB_OK ? t->request.time : 0;
  }
  if (rc == HDB_OK && flags & COMMIT_FULL) rc = engine_sync_to(e, time);
  put_signed(reply, time);
  buf_varint(reply, rc == HDB_OK ? 0 : t->conflict_tree);
  put_bytes(reply, rc == HDB_OK ? slice_of(NULL, 0) : buf_slice(&t->conflict_key));
  if (rc == HDB_OK && t->open) txn_finish(t, true);
  return rc;
}

static status commit(session *s, reader *r, buf *reply) {
  uint64_t number = read_number(r);
  guest *g;
  if (r->failed) return HDB_PROTOCOL;
  TRY(guest_enter(s, number, &g));
  status rc = run_commit(s, g, r, reply);
  if (rc != HDB_OK && txn_is_open(g->t))
    txn_finish(g->t, false); /* it may come again: its row ids stay its own */
  if (rc == HDB_OK) note_over(s, number);
  guest_leave(s, g, rc == HDB_OK);
  return rc;
}

/* ---- branches, settings ---- */

static status create_branch(engine *e, reader *r, buf *reply) {
  char name[1024];
  slice text = read_bytes(r);
  uint64_t parent = read_number(r);
  int64_t as_of = read_signed(r);
  uint32_t id = 0;
  if (r->failed || text.n >= sizeof name || memchr(text.p, 0, text.n) || parent > UINT32_MAX)
    return HDB_PROTOCOL;
  memcpy(name, text.p, text.n);
  name[text.n] = 0;
  status rc = branch_create(e, name, (uint32_t)parent, as_of, &id);
  buf_varint(reply, id);
  return rc;
}

static status use_branch(session *s, reader *r) {
  uint64_t former = read_number(r), now = read_number(r);
  if (r->failed || former > UINT32_MAX || now > UINT32_MAX) return HDB_PROTOCOL;
  status rc = HDB_OK;
  pthread_mutex_lock(&s->lock);
  branch_use *found = NULL;
  for (size_t i = 0; i < s->uses_n; i++) {
    branch_use *u = &s->uses[i];
    if (u->id == former && u->count > 0) u->count--;
    if (u->id == now) found = u;
  }
  if (!found && now) {
    branch_use *more = realloc(s->uses, (s->uses_n + 1) * sizeof *more);
    if (more) {
      s->uses = more;
      found = &s->uses[s->uses_n++];
      *found = (branch_use){(uint32_t)now, 0};
    } else {
      rc = HDB_NOMEM;
    }
  }
  if (found) found->count++;
  pthread_mutex_unlock(&s->lock);
  return rc;
}

bool process_is_used(engine *e) {
  processes *p = e->processes;
  if (!p) return false;
  pthread_mutex_lock(&p->sessions_lock);
  bool used = p->sessions != NULL;
  pthread_mutex_unlock(&p->sessions_lock);
  return used;
}

bool process_branch_used(engine *e, uint32_t branch) {
  processes *p = e->processes;
  bool used = false;
  if (!p) return false;
  pthread_mutex_lock(&p->sessions_lock);
  for (session *s = p->sessions; s; s = s->next) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->uses_n; i++) used = used || (s->uses[i].id == branch && s->uses[i].count > 0);
    pthread_mutex_unlock(&s->lock);
  }
  pthread_mutex_unlock(&p->sessions_lock);
  return used;
}

static status put_setting(engine *e, reader *r) {
  char name[SETTING_NAME_MAX];
  slice value;
  TRY(read_setting(r, name, &value));
  return engine_setting_put(e, name, value);
}

static status copy_to(session *s, reader *r) {
  char path[4200];
  slice text = read_bytes(r);
  if (r->failed || text.n >= sizeof path || memchr(text.p, 0, text.n) || !text.n || text.p[0] != '/')
    return HDB_PROTOCOL;
  if (s->user != geteuid()) return HDB_PERM; /* files would be made by this process's rights instead of his */
  memcpy(path, text.p, text.n);
  path[text.n] = 0;
  return engine_copy(s->e, path);
}

static status tell(engine *e, buf *reply) {
  engine_report report;
  memset(&report, 0, sizeof report); /* what lies between the fields is sent, too */
  engine_tell(e, &report);
  buf_append(reply, &report, sizeof report);
  return HDB_OK;
}

static status set_retention(engine *e, reader *r) {
  slice bits = read_bytes(r);
  double seconds;
  uint64_t timeout = read_number(r);
  if (r->failed || bits.n != sizeof seconds || timeout > INT32_MAX) return HDB_PROTOCOL;
  memcpy(&seconds, bits.p, sizeof seconds);
  return engine_set_retention(e, seconds, (int)timeout);
}

static status changed_time(engine *e, reader *r, buf *reply) {
  tree_info *i;
  uint64_t tree = read_number(r);
  if (r->failed || tree > UINT32_MAX) return HDB_PROTOCOL;
  TRY(tree_get(e, (uint32_t)tree, &i));
  put_signed(reply, atomic_load(&i->changed_time));
  return HDB_OK;
}

static status new_tree(engine *e, buf *reply) {
  uint32_t tree = 0;
  TRY(tree_new_id(e, &tree));
  buf_varint(reply, tree);
  return HDB_OK;
}

static status make_delta(engine *e, reader *r, buf *reply) {
  uint64_t branch = read_number(r), tree = read_number(r);
  uint32_t own = 0;
  if (r->failed || branch > UINT32_MAX || tree > UINT32_MAX) return HDB_PROTOCOL;
  TRY(branch_delta(e, (uint32_t)branch, (uint32_t)tree, &own));
  buf_varint(reply, own);
  return HDB_OK;
}

static status call(void *context, void *data, uint32_t ask, slice request, buf *reply) {
  engine *e = context;
  session *s = data;
  reader r = reader_of(request);
  switch (ask) {
  case ASK_VIEW: return take_view(s, &r, reply);
  case ASK_DROP: return drop_lease(s, &r);
  case ASK_TURN: return take_turn(s, &r);
  case ASK_COMMIT: return commit(s, &r, reply);
  case ASK_END: return end_guest(s, read_number(&r));
  case ASK_ROWIDS: return claim_rowids(s, &r, reply);
  case ASK_TREE: return new_tree(e, reply);
  case ASK_SETTING: return put_setting(e, &r);
  case ASK_RETENTION: return set_retention(e, &r);
  case ASK_COLLECT: return engine_collect(e);
  case ASK_CHECKPOINT: return engine_checkpoint(e);
  case ASK_BRANCH_CREATE: return create_branch(e, &r, reply);
  case ASK_BRANCH_DROP: return branch_drop(e, (uint32_t)read_number(&r));
  case ASK_BRANCH_DELTA: return make_delta(e, &r, reply);
  case ASK_BRANCH_USE: return use_branch(s, &r);
  case ASK_CHANGED: return changed_time(e, &r, reply);
  case ASK_COPY: return copy_to(s, &r);
  case ASK_TELL: return tell(e, reply);
  case ASK_DUTY: return process_do_duty(e);
  case ASK_ERASE: return erase_serve(e, &r, reply);
  default: return HDB_PROTOCOL;
  }
}

/* ---- coming and going ---- */

/* The commits that touch groups are noted from now on, none in part. */
static void begin_noting(engine *e) {
  processes *p = e->processes;
  if (atomic_exchange(&p->noting, true)) return;
  engine_settle(e);
  int64_t floor = atomic_load(&e->visible);
  pthread_mutex_lock(&p->touched_lock);
  if (floor > p->touched_floor) p->touched_floor = floor;
  pthread_mutex_unlock(&p->touched_lock);
}

static status begin(void *context, uint64_t client, unsigned user, permit_word *permits, void **out, buf *greeting) {
  engine *e = context;
  processes *p = e->processes;
  session *s = calloc(1, sizeof *s);
  (void)greeting;
  if (!s) return HDB_NOMEM;
  s->e = e, s->client = client, s->permits = permits, s->user = user;
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->freed, NULL);
  pthread_mutex_lock(&p->sessions_lock);
  while (!p->ready && !p->closing) pthread_cond_wait(&p->is_ready, &p->sessions_lock);
  bool closing = p->closing;
  if (!closing) s->next = p->sessions, p->sessions = s;
  pthread_mutex_unlock(&p->sessions_lock);
  if (closing) {
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->freed);
    free(s);
    return HDB_BUSY_RECOVERY;
  }
  engine_wake(e);
  begin_noting(e);
  *out = s;
  return HDB_OK;
}

static void gone(void *context, void *data) {
  session *s = data;
  guest *turns = NULL;
  (void)context;
  pthread_mutex_lock(&s->lock);
  s->gone = true;
  for (guest **p = &s->guests; *p;) {
    guest *g = *p;
    if (g->busy) {
      p = &g->next;
      continue;
    }
    *p = g->next;
    g->next = turns, turns = g;
  }
  pthread_cond_broadcast(&s->freed);
  pthread_mutex_unlock(&s->lock);
  while (turns) {
    guest *g = turns;
    turns = g->next;
    guest_free(g);
  }
}

static void end(void *context, void *data) {
  engine *e = context;
  session *s = data;
  pthread_mutex_lock(&e->processes->sessions_lock);
  for (session **p = &e->processes->sessions; *p; p = &(*p)->next) {
    if (*p != s) continue;
    *p = s->next;
    break;
  }
  pthread_mutex_unlock(&e->processes->sessions_lock);
  while (s->leases) {
    lease *l = s->leases;
    s->leases = l->next;
    lease_free(s, l);
  }
  while (s->guests) {
    guest *g = s->guests;
    s->guests = g->next;
    guest_free(g);
  }
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->freed);
  free(s->uses);
  free(s);
}

/* A turn or a view that nobody took. */
static void unsent(void *context, void *data, uint32_t ask, slice reply) {
  session *s = data;
  (void)context;
  if (ask == ASK_VIEW) {
    reader r = reader_of(reply);
    drop_lease(s, &r);
  } else if (ask == ASK_TURN) {
    gone(context, s); /* the client cannot take anything any more */
  }
}

void serve_calls_init(serve_calls *calls, engine *e) {
  *calls = (serve_calls){begin, gone, end, lease_snapshot, lease_release, call, unsent, e};
}
