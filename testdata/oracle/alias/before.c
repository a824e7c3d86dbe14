/* A target with two names is one target; copied code calls it by its other name. */
#include <stdio.h>

int real(int x)
{
	return x * 3;
}

int other(int x) __attribute__((alias("real")));
static int third(int x) __attribute__((alias("real")));

int main(void)
{
	printf("%d\n", real(1) + other(2) + third(3));
	return 0;
}
