/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
__attribute__((noinline, no_instrument_function)) int body(int x) { return use(x) + 5; }
int api(int x) { return body(x + 1); }
