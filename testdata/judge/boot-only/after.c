/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int setup(int a) { return use(a + 1); }
int later(int a) { return use(a * 3); }
