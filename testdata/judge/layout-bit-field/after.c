/* SPDX-License-Identifier: GPL-2.0-only */
int use(void *);
struct inner { int a; long b; };
struct object {
	int first;
	struct inner in;
	unsigned int flag : 4, more : 4;
	short last;
};
struct outer { char name[4]; struct object obj[2]; };
int sum(struct object *o) { return o->first + o->last; }
int deep(struct outer *o) { return use(&o->obj[1]); }
int edited(struct object *o) { return o->first; }
