#include <stdio.h>

static unsigned first(unsigned a), second(unsigned a);

static __attribute__((noinline)) unsigned user(unsigned a)
{
	return first(a) + second(a + 1);
}

static unsigned first(unsigned a)
{
	return a * 4;
}

static __attribute__((noinline)) unsigned second(unsigned a)
{
	return a & 1 ? second(a - 1) : a * 6;
}

int main(void)
{
	printf("%u\n", user(4) + user(9));
	return 0;
}
