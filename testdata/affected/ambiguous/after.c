/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline)) int reset(int x) { return use(x) + 2; }
int (*hook)(int) = reset;
