/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int one(int x) { return use(x) * 3 + 1; }
int two(int x) { return use(x) * 3 + 1; }
