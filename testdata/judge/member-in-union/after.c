/* SPDX-License-Identifier: GPL-2.0-only */
struct object { union { long l; char bytes[8]; int *pointer; }; };
long get(struct object *o) { return o->l; }
