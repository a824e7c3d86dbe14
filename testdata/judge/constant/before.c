/* SPDX-License-Identifier: GPL-2.0-only */
#define LIMIT 4
int use(int);
int table(int a) { return a < LIMIT ? use(a) : 0; }
