/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline)) int one(int x) { return use(x) * 3 + 7; }
static __attribute__((noinline)) int two(int x) { return use(x) * 3 + 1; }
int first(int x) { return one(x) + 2; }
int second(int x) { return two(x) + 4; }
