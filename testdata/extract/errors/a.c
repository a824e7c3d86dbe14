int elsewhere(int a);

int compute(int a)
{
	return elsewhere(a);
}
