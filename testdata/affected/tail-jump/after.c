/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline, no_instrument_function)) int body(int x) { return use(x) + 5; }
int entry_one(int x) { return body(x + 1); }
int entry_two(int x) { return body(x + 2); }
