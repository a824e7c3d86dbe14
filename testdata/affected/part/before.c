/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
void slow(int), note(int);
struct s { int ready, v; };
static int fetch(struct s *p) {
	if (p->ready)
		return p->v;
	slow(p->v);
	note(p->v + 1);
	slow(p->v + 2);
	note(p->v + 3);
	slow(p->v + 4);
	note(p->v + 5);
	slow(p->v + 6);
	return use(p->v);
}
int first(struct s *p) { return fetch(p) + 1; }
int second(struct s *p) { return fetch(p) * 3; }
int third(struct s *p) { return fetch(p) - 7; }
