#define BITS 32

static unsigned int values[] =
#if BITS == 64
{ 1, 2, 3, 4 };
#else
/* Fewer */
{ 1, 2 };
#endif

#if BITS == 64
static int add(long a)
#else
static int add(int a)
#endif
{
#ifdef DEBUG
	a++;
#endif
	return a + values[1];
}

int main(void)
{
	return add(1) - 3;
}
