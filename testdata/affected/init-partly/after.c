/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static inline __attribute__((always_inline)) int check(int x) { return use(x) + 2; }
static __attribute__((section(".init.text"), no_instrument_function, used)) int setup(void) { return check(3) * 3; }
static __attribute__((section(".initcall5.init"), used)) int (*call)(void) = setup;
int api(int x) { return check(x) * 5; }
