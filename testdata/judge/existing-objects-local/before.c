/* SPDX-License-Identifier: GPL-2.0-only */
struct list { struct list *next; };
void INIT_LIST_HEAD(struct list *);
int add(struct list *);
int make(void) { struct list l; l.next = 0; return add(&l); }
