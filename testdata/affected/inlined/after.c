/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static int helper(int x) { return use(x) + 2; }
int api(int x) { return helper(x * 3); }
int other(int x) { return use(x); }
