/* SPDX-License-Identifier: GPL-2.0-only */
int use(int *);
static int values[8] = { 1, 2 };
static int more = 5;
int name(int x) { for (int *p = values; p < values + 8; p++) x += use(p); return x; }
int added(int x) { return use(&more) + x; }
