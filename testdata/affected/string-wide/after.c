/* SPDX-License-Identifier: GPL-2.0-only */
void use(const unsigned short *);
int name(int x) { use(L"ABD"); return x; }
int other(int x) { use(L"AXC"); return x; }
