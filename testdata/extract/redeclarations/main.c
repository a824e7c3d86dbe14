int halved();
int halved(double);

int use(void)
{
	return halved(3);
}

int halved(double a)
{
	return a / 2 == 1.5;
}

int named(void) __asm__("other_name");
int named(void);
int other_name(void)
{
	return 4;
}

int real(void)
{
	return 5;
}
extern int second(void) __attribute__((alias("real")));

static int weak_one;
extern int missing __attribute__((weak));
extern int missing;

inline int squared(int a)
{
	return a * a;
}
extern int squared(int a);

int main(void)
{
	return use() + named() + second() + (&missing == 0) + squared(2) - 15 + weak_one;
}
