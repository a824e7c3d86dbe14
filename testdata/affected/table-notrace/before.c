/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
struct ops { int (*run)(int); };
static __attribute__((noinline, no_instrument_function)) int run(int x) { return use(x) + 1; }
const struct ops ops = { .run = run };
int api(int x) { return run(x) * 2; }
