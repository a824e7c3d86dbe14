/* GCC calls what the static alias stands for, and leaves no symbol of the alias. */
#include <stdio.h>

int real(int x)
{
	printf("%d\n", x);
	return x * 3;
}

static int other(int x) __attribute__((alias("real")));

__attribute__((noinline)) static int user(int x)
{
	return other(x) + 2;
}

int main(void)
{
	printf("%d\n", user(2));
	return 0;
}
