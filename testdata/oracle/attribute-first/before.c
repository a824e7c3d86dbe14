/* A function that begins with an attribute is no assembly. */
#include <stdio.h>

__attribute__((weak)) int f(int x)
{
	return x + 1;
}

int main(void)
{
	printf("%d\n", f(2));
	return 0;
}
