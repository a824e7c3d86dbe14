/* SPDX-License-Identifier: GPL-2.0-only */
struct list { struct list *next; };
struct obj { int a, b; struct list list; };
void *kmalloc(unsigned long, int);
void INIT_LIST_HEAD(struct list *);
int add(struct obj *);
int make(void)
{
	struct obj *o = kmalloc(sizeof(*o), 1);
	if (!o)
		return -12;
	o->a = 1;
	o->b = 2;
	return add(o);
}
