extern void exit(int);

struct pair { int a, b; };

/* As K&R have it: types behind the parameter list, and int where none is said. */
static void
check(p, names, number)
	struct pair *p;
	char *names[];
{
	if (p->a + p->b + number != 6 || names[0][0] != 'x')
		exit(1);
}

second(p) struct pair *p; { return p->b; }

main()
{
	static struct pair pair = { 1, 2 };
	char *names[] = { "x" };

	check(&pair, names, second(&pair) + 1);
	return 0;
}
