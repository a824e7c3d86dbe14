/* SPDX-License-Identifier: GPL-2.0-only */
void ep_pin(int); void ep_unpin(int); int use(int);
int work(int a) { int r; ep_pin(a); r = use(a); ep_unpin(a); return r; }
