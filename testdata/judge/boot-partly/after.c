/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int setup(int a) { return use(1 + a); }
int later(int a) { return use(1 + a * 3); }
