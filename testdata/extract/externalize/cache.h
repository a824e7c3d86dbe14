static inline int limit(int size)
{
	return size < 4 ? size : 4;
}
