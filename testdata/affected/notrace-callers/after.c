/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline, no_instrument_function)) int deep(int x) { return use(x) + 5; }
static __attribute__((noinline, no_instrument_function)) int middle(int x) { return deep(x) * 3; }
int first(int x) { return middle(x) + 2; }
int second(int x) { return middle(x + 2) - deep(x); }
int third(int x) { return use(x) + 3; }
