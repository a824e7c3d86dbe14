/* SPDX-License-Identifier: GPL-2.0-only */
struct obj { int refs; };
void kref_get(struct obj *);
void kref_put(struct obj *);
int use(struct obj *);
int take(struct obj *o) { return use(o) + 1; }
int drop(struct obj *o) { return use(o) - 1; }
