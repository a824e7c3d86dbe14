/* SPDX-License-Identifier: GPL-2.0-only */
struct s { int len; };
int work(struct s *s) { return s->len; }
