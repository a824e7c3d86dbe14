/* One address under two names is one target, by the name that the source defines. */
int shared;

int real(int x)
{
	shared += x;
	return shared * 3;
}

int other(int x) __attribute__((alias("real")));

int user(int x)
{
	return other(x) + 1;
}
