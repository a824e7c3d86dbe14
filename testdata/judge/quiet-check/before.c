/* SPDX-License-Identifier: GPL-2.0-only */
struct s { int len; };
int use(struct s *);
int work(struct s *s) { if (!s) return -22; return use(s); }
