/* SPDX-License-Identifier: GPL-2.0-only */
typedef int number;
struct object { number value; char *label __attribute__((deprecated)); };
int get(struct object *o) { return o->value > 5; }
