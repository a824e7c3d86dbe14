int entered;

__attribute__((no_instrument_function))
void __cyg_profile_func_enter(void *function, void *caller)
{
	entered++;
}

__attribute__((no_instrument_function))
void __cyg_profile_func_exit(void *function, void *caller)
{
}

__attribute__((noinline)) static void called(void)
{
}

__attribute__((no_instrument_function)) int main(void)
{
	called();
	return entered - 1;
}
