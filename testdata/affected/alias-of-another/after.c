/* SPDX-License-Identifier: GPL-2.0-only */
int one(int x) { return x + 1; }
int two(int x) { return x + 2; }
int name(int x) __attribute__((alias("two")));
