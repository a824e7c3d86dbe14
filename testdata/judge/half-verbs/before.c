/* SPDX-License-Identifier: GPL-2.0-only */
void ep_pin(int); void ep_unpin(int); int use(int);
int work(int a) { ep_pin(a); return use(a); }
