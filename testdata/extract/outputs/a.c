#include "a.h"

int compute(int a)
{
	return a + ADDED;
}
