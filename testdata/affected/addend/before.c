/* SPDX-License-Identifier: GPL-2.0-only */
#define AT 3
int use(int *);
static int values[8];
int name(int x) { return use(&values[AT]) + x; }
int fill(int x) { return values[x] = x; }
