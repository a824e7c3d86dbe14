/* SPDX-License-Identifier: GPL-2.0-only */
struct list { struct list *next; };
struct work { int a; struct list list; };
void *kmalloc(unsigned long, int);
void kfree(void *);
void INIT_LIST_HEAD(struct list *);
int queue(struct work *, void (*)(struct work *));
int use(int);
static void later(struct work *w) { kfree(w); }
int run(int a) { struct work *w = kmalloc(sizeof(*w), 1); if (w) { INIT_LIST_HEAD(&(w)->list); queue(w, later); } return use(a); }
