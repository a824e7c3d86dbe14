/* SPDX-License-Identifier: GPL-2.0-only */
#define ALIGNED 16
int use(int);
int name(int x) { return use(x) + 1; }
int __attribute__((aligned(ALIGNED))) other(int x) { return use(x) + 2; }
int last(int x) { return name(x) + other(x + 7) * 2 + use(x); }
