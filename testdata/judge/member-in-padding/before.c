/* SPDX-License-Identifier: GPL-2.0-only */
int use(void *);
struct object { char c; int i; };
int get(struct object *o) { return o->i; }
int set(struct object *o) { return use(o); }
