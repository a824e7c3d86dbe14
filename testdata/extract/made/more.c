#define PAIR(name)		\
static int first_##name(int by)	\
{				\
	return by + 1;		\
}				\
int second_##name(int by)	\
{				\
	return by + 2;		\
}
PAIR(three)

int main(void)
{
	return second_three(first_three(-3));
}
