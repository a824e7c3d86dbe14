/* SPDX-License-Identifier: GPL-2.0-only */
void *kzalloc(unsigned long, int);
struct s { int a; };
int set(struct s *);
int make(void) { struct s *s = kzalloc(sizeof(*s), 1); return s ? set(s) : -12; }
