/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline)) int parse(int x) { return use(x) + 2; }
static __attribute__((section(".init.text"), no_instrument_function, used)) int setup(void) { return parse(3); }
static __attribute__((section(".initcall5.init"), used)) int (*call)(void) = setup;
