/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static inline int check(int x) { return use(x) > 3; }
int api(int x) { return use(x + 1); }
