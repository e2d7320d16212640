// A function that is compiled twice, the second time for machines with the widest registers, popcount and all.
#pragma once

#if defined(__x86_64__) && defined(__gnu_linux__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
