/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static inline int deep(int x) { return use(x) + 2; }
static inline int middle(int x) { return deep(x) * 5; }
int first(int x) { return middle(x) - 1; }
int second(int x) { return middle(x + 1); }
