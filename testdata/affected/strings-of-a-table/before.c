/* SPDX-License-Identifier: GPL-2.0-only */
int use(const char *);
static const char *const names[] = { "red", "green", "blue" };
int name(int x) { return use(names[x]); }
