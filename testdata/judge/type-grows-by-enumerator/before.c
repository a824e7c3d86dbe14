/* SPDX-License-Identifier: GPL-2.0-only */
enum count { FIRST, COUNT = 4 };
struct object { int values[COUNT]; };
int get(struct object *o) { return o->values[3]; }
