/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
void later(int (*)(int));
static __attribute__((noinline, no_instrument_function)) int run(int x) { return use(x) + 2; }
void api(void) { later(run); use(1); }
