/* SPDX-License-Identifier: GPL-2.0-only */
struct obj { int refs; };
void kref_get(struct obj *);
void kref_put(struct obj *);
int use(struct obj *);
int take(struct obj *o) { kref_get(o); return use(o) + 1; }
int drop(struct obj *o) { int r = use(o) - 1; kref_put(o); return r; }
