/* François */
static const char name[] = "Françoisÿ1"; int /* été */ length(void) { return (unsigned char)name[4] - 0347 + sizeof(name); }

int main(void)
{
	return length() != 11 || (unsigned char)name[8] != 0377;
}
