int compute(int a)
{
#line 7 "grammar.y"
	return a;
}
