#ifdef WANT_LONG
typedef long number;
#else
typedef char number;
#endif
