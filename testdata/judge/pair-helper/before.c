/* SPDX-License-Identifier: GPL-2.0-only */
struct lock { int l; };
void mutex_lock(struct lock *);
void mutex_unlock(struct lock *);
int use(int);
int work(struct lock *l, int a)
{
	mutex_lock(l);
	a = use(a);
	if (a < 0)
		goto out;
	a = use(a + 1);
out:
	mutex_unlock(l);
	return a;
}
int other(struct lock *l, int a) { return use(a); }
