/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static int check(int x) { return use(x) > 3; }
int api(int x) { if (check(x)) return -1; return use(x + 1); }
