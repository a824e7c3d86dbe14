int open(int depth);

static inline int use(void)
{
	return open(0);
}
