/* SPDX-License-Identifier: GPL-2.0-only */
typedef int number;
struct object { int value; const char *name; };
int get(struct object *o) { return o->value > 5; }
