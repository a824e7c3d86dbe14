/* SPDX-License-Identifier: GPL-2.0-only */
struct one { int a; };
struct two { int a; };
struct object { unsigned int value; struct two *link; };
int get(struct object *o) { return o->value > 5; }
