// What a compiler expects to find without a C library.
#include <stddef.h>

extern "C" {

int _fltused = 0;  // the target's mark of code that uses floating point

// String instructions: the compiler would turn a loop into a call of the function that it is in.
void* memcpy(void* to, const void* from, size_t n) {
  void* const result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return result;
}

void* memset(void* to, int byte, size_t n) {
  void* const result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
  return result;
}

void* memmove(void* to, const void* from, size_t n) {
  char* a = static_cast<char*>(to);
  const char* b = static_cast<const char*>(from);
  if (a <= b || a >= b + n) return memcpy(to, from, n);
  a += n, b += n;
  __asm__ volatile(
      "std\n\t"
      "sub $1, %0\n\t"
      "sub $1, %1\n\t"
      "rep movsb\n\t"
      "cld"
      : "+D"(a), "+S"(b), "+c"(n)
      :
      : "memory");
  return to;
}

int memcmp(const void* a, const void* b, size_t n) {
  const unsigned char* x = static_cast<const unsigned char*>(a);
  const unsigned char* y = static_cast<const unsigned char*>(b);
  for (size_t i = 0; i < n; ++i) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}
}
