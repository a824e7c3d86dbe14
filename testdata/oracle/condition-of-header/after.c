/* A condition in copied text names a macro of a header that nothing else is used of. */
#include <limits.h>
#include <stdio.h>

static int wide(int x)
{
#if INT_MAX > 40000
	return x + 2;
#else
	return x - 1;
#endif
}

int main(void)
{
	printf("%d\n", wide(2));
	return 0;
}
