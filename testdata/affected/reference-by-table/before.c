/* SPDX-License-Identifier: GPL-2.0-only */
#define WHICH one
int use(int);
static int one(int x) { return use(x) + 1; }
static int two(int x) { return use(x) + 2; }
int (*const calls[])(int) = { WHICH, two };
int name(int x) { return one(x) + two(x); }
