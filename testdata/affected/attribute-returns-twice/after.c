/* SPDX-License-Identifier: GPL-2.0-only */
#define ATTRIBUTE __attribute__((returns_twice))
int use(int) ATTRIBUTE;
int name(int x, int y, int z) { use(x); return use(y) + z; }
