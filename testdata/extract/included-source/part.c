static int part(void)
{
	return PART;
}
