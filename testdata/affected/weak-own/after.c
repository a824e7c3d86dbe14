/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int other(int x) { return use(x) * 2; }
__attribute__((weak)) int arch_setup(int x) { return use(x) + 2; }
