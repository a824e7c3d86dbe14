/* SPDX-License-Identifier: GPL-2.0-only */
typedef unsigned long number;
struct s { char c; number n; };
int get(struct s *s) { return s->n != 0; }
