/* SPDX-License-Identifier: GPL-2.0-only */
int use(int *);
static int after = 4;
static int values[8] = { 1, 2 };
int name(int x) { for (int *p = values; p < values + 8; p++) x += use(p); return x; }
int last(void) { return use(&after); }
