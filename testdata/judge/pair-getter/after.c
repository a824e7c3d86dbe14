/* SPDX-License-Identifier: GPL-2.0-only */
int nla_get_u32(int); int nla_put_u32(int); int use(int);
int work(int a) { return use(nla_get_u32(a)); }
