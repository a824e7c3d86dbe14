/* SPDX-License-Identifier: GPL-2.0-only */
int use(int *);
int one(int x) { static int n; return use(&n) + x; }
int two(int x) { static int n; return use(&n) * x; }
