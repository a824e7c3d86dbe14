/* SPDX-License-Identifier: GPL-2.0-only */
int use(int *);
int two(int x) { static int n; return use(&n) * x; }
int one(int x) { static int n; return use(&n) + x; }
