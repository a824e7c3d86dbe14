int outer(int n)
{
	struct { char bytes[n]; int last; } s;

	return sizeof(s);
}
