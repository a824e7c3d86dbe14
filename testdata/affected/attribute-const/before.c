/* SPDX-License-Identifier: GPL-2.0-only */
#define ATTRIBUTE
int use(int) ATTRIBUTE;
int name(int x) { return use(x) + use(x); }
int other(int x) { return use(x); }
